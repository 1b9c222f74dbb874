"""A value that is wrong for each option, by the kind of the option: a new option is covered unasked."""

from appliance.config.kinds.places import (
    Addresses,
    FilePath,
    Folders,
    Hosts,
    ListenAddress,
    QueueFolder,
    ServerUrl,
)
from appliance.config.kinds.quantities import Duration, Integer, Number, Size
from appliance.config.kinds.words import Boolean, Choice, QueueNames, Word
from appliance.config.option import Option

#: The least that a worker needs.
REQUIRED = {
    "RUNQY_SERVER_URL": "http://127.0.0.1:8081",
    "RUNQY_API_KEY": "key-canary-51",
    "RUNQY_QUEUES": "inference",
}

_GARBAGE: dict[type, tuple[str, ...]] = {
    Duration: ("soon", "30", "-1s", "99999h", "1d", "5s\x1b[2J"),
    Integer: ("many", "-1", "99999999999999999999999", "1.5", "010", "0x10", "\u0663", " 4"),
    Number: ("lots", "nan", "inf", "-2", "1e400", "0"),
    Size: ("much", "512", "-1MiB", "1.5GiB", "0MiB", "9999999TiB", "512mib", "1023KiB"),
    Hosts: (":1", "host:", "host:0", "host:65536", "a b", "a,,b", "a@b", "https://a", "*.test", "[::1"),
    Addresses: (":1", "host:", "host:0", "host:65536", "a b", "a,,b", "a@b:1", "redis://a:1", "[::1"),
    ListenAddress: (
        "8686",
        "host",
        "host:0",
        "host:65536",
        "a b:1",
        "http://a:1",
        "[::1",
        "::1:80",
        "a:1,b:1",
    ),
    Boolean: ("maybe", "2", "truee"),
    Choice: ("purple", "info,debug"),
    Word: ("two words", "tab\there", "line\nbreak", "x" * 9000),
    QueueNames: (
        "a{b}",
        "a,,b",
        ",",
        "two words",
        "../up",
        "a/b",
        "'x'",
        '"x"',
        ".x",
        "x.",
        "a\x00b",
        "q" * 300,
        "a:b",
    ),
    ServerUrl: (
        "localhost:8081",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host:0",
        "http://host:abc",
        "http://http://host",
        "http://[::1",
        "http://ho st",
        "http://user:url-canary-52@host",
        "http://host/?token=url-canary-52",
        "//host",
    ),
    FilePath: ("~/nothing", "a\nb"),
    Folders: ("models", "~/models", "/a,,/b", "/a,b", "/a\nb"),
    QueueFolder: ("true", "app", "~/app", "/app/{queue}", "/app/{parent", "/a\nb"),
}

#: Paths like any others until the disk is asked.
_UNUSABLE_PATHS = ("/dev/null/below", "/dev/null", "x" * 5000)


def garbage(option: Option) -> tuple[str, ...]:
    """Return texts that are no value of ``option``."""
    return _GARBAGE[type(option.kind)]


def refused(option: Option) -> tuple[str, ...]:
    """Return the same with texts that only loading refuses, since it looks at the disk."""
    return garbage(option) + (_UNUSABLE_PATHS if isinstance(option.kind, FilePath) else ())
