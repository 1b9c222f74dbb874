"""Single values: what each kind reads, how it is shown, and what ``${VAR}`` turns into."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.kinds.base import quoted
from appliance.config.kinds.places import FilePath, without_credentials
from appliance.config.kinds.words import QueueNames
from appliance.config.option import Option
from appliance.config.options import OPTION_OF_PATH, OPTIONS
from appliance.config.substitution import substitute
from appliance.masking.matcher import MASK
from tests.unit.config_garbage import garbage


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("server.url", "http://localhost:8081", "http://localhost:8081"),
        ("server.url", "https://host/base/", "https://host/base"),
        ("server.url", "HTTP://[::1]:80", "HTTP://[::1]:80"),
        ("server.api_key", "s3cr$t{}!~", "s3cr$t{}!~"),
        ("worker.queues", "inference", ("inference",)),
        ("worker.queues", " a.high , a.low ", ("a.high", "a.low")),
        ("worker.concurrency", "10000", 10_000),
        ("git.token_hosts", "GitHub.com, b.test:3000,[::1]", ("github.com", "b.test:3000", "[::1]")),
        ("redis.sentinels", "a, b.test:1", ("a:26379", "b.test:1")),
        ("redis.sentinels", "[::1],[fe80::1]:2", ("[::1]:26379", "[fe80::1]:2")),
        ("http.addr", ":8686", "0.0.0.0:8686"),
        ("http.addr", "localhost:8686", "localhost:8686"),
        ("http.addr", "[::]:8686", "[::]:8686"),
        ("worker.shutdown_timeout", "0", 0.0),
        ("worker.lease_duration", "2s", 2.0),
        ("recovery.enabled", "TRUE", True),
        ("recovery.enabled", "0", False),
        ("recovery.enabled", "off", False),
        ("recovery.max_restarts", "0", 0),
        ("recovery.backoff_factor", "1.5", 1.5),
        ("recovery.backoff_factor", "3", 3.0),
        ("deployment.dir", "/srv/my code", Path("/srv/my code")),
        ("log.level", "DEBUG", "debug"),
        ("tasks.ttl_completed", "0", 0.0),
    ],
)
def test_a_value_is_read(path: str, text: str, value: Any) -> None:
    assert OPTION_OF_PATH[path].parse(text) == value


@pytest.mark.parametrize(
    ("option", "text"),
    [
        pytest.param(option, text, id=f"{option.path}={text[:20]!r}")
        for option in OPTIONS
        for text in garbage(option)
    ],
)
def test_garbage_is_no_value(option: Option, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the reason may be empty: "allowed" says it all
        option.parse(text)


@given(st.sampled_from(OPTIONS), st.text(min_size=1))
def test_any_text_is_read_or_refused_as_a_value(option: Option, text: str) -> None:
    reason = ""
    try:
        option.parse(text)
    except ValueError as exc:
        reason = str(exc)

    assert reason.isprintable()


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.default is not None], ids=lambda o: o.path
)
def test_a_default_is_shown_as_it_could_be_written(option: Option) -> None:
    assert option.parse(option.show(option.default)) == option.default


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.secret], ids=lambda o: o.path)
def test_a_secret_is_never_shown(option: Option) -> None:
    assert option.show("canary") == MASK
    assert option.show_raw("canary") == MASK
    assert option.show_raw(("canary",)) == MASK


@pytest.mark.parametrize(
    "url",
    [
        "http://canary:canary@host",
        "http://host/?key=canary",
        "http://host/?key=a@canary",
        "http://canary#canary?canary@canary",
        "canary:canary@host",
        "https://host#canary",
    ],
)
def test_no_part_of_a_url_that_may_be_a_password_is_shown(url: str) -> None:
    assert "canary" not in without_credentials(url)


def test_a_url_without_credentials_is_shown_whole() -> None:
    assert without_credentials("ftp://host:1/x") == "ftp://host:1/x"


def test_a_quoted_value_is_one_short_printable_line() -> None:
    line = quoted("\x1b[2J\n\udcff" + "x" * 10_000)

    assert line.isprintable()
    assert len(line) < 200


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${SET}", "value"),
        ("a${SET}b${SET}", "avaluebvalue"),
        ("${EMPTY}", ""),
        ("${SET:-other}", "value"),
        ("${EMPTY:-other}", "other"),
        ("${UNSET:-}", ""),
        ("${UNSET:-http://h:1/a:-b}", "http://h:1/a:-b"),
        ("$${SET}", "${SET}"),
        ("pa$$word$ $1 $SET", "pa$$word$ $1 $SET"),
        ("${NESTED}", "${SET}"),
    ],
)
def test_references_are_replaced(text: str, result: str) -> None:
    environ = {"SET": "value", "EMPTY": "", "NESTED": "${SET}"}

    assert substitute(text, environ) == result


def test_an_unset_reference_is_named() -> None:
    with pytest.raises(ValueError, match="UNSET, which is not set"):
        substitute("a${UNSET}", {})


@pytest.mark.parametrize(
    "text", ["${}", "${canary!}", "${canary", "${canary:+x}", "${1canary}", "${canary-x}"]
)
def test_a_malformed_reference_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"write \$\$\{") as caught:
        substitute(text, {"canary": "x"})

    assert "canary" not in str(caught.value)


def test_a_colon_where_programs_lie_is_refused_in_words_that_say_why() -> None:
    with pytest.raises(ValueError, match="PATH separates folders by colons"):
        QueueNames().parse("inference,text:v2.high")
    with pytest.raises(ValueError, match="PATH separates folders by colons"):
        FilePath("a folder", folder=True, holds_programs=True).parse("/srv/c:/deployment")

    assert QueueNames().parse("inference.a:b") == ("inference.a:b",)
    assert FilePath("a file", folder=False).parse("/run/a:b") == Path("/run/a:b")
