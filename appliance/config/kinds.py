"""What a value may look like: one kind a shape, with its bounds and how to say them.

A kind reads text (every source has text: a variable, or a scalar of the file as it was written,
so that YAML's own ideas of ``no``, ``010`` or ``1:30`` never apply). ``parse`` raises ValueError
whose text, possibly empty, adds to ``allowed`` what is wrong with this very value.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from appliance.config.durations import format_duration, parse_duration

#: What stands for a secret wherever people read.
MASK = "********"


class Kind(Protocol):
    """How an option's text becomes its value, and back."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words that complete "must be ..."."""

    @property
    def unit(self) -> str:
        """What the value counts or measures, empty where it does neither."""

    def parse(self, text: str) -> Any:
        """Return the value of ``text``, which is not empty; raises ValueError."""

    def show(self, value: Any) -> str:
        """Return ``value`` as an operator would write it."""


@dataclass(frozen=True)
class Duration:
    """Seconds from Go's notation, between two bounds; ``zero`` says what a permitted 0 means."""

    minimum: str
    maximum: str
    zero: str = ""
    unit: str = "ms, s, m, h"

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        zero = f"0 ({self.zero}) or " if self.zero else ""
        return f"{zero}a duration from {self.minimum} to {self.maximum}, such as 30s or 1m30s"

    def parse(self, text: str) -> float:
        """See :class:`Kind`."""
        seconds = parse_duration(text)
        if self.zero and seconds == 0:
            return seconds
        if not parse_duration(self.minimum) <= seconds <= parse_duration(self.maximum):
            raise ValueError
        return seconds

    def show(self, value: float) -> str:
        """See :class:`Kind`."""
        return format_duration(value)


@dataclass(frozen=True)
class Integer:
    """A whole number, plain decimal: no leading zeros, which YAML would read as octal."""

    minimum: int
    maximum: int
    unit: str

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return f"a whole number from {self.minimum} to {self.maximum}"

    def parse(self, text: str) -> int:
        """See :class:`Kind`."""
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or not self.minimum <= int(text) <= self.maximum:
            raise ValueError
        return int(text)

    def show(self, value: int) -> str:
        """See :class:`Kind`."""
        return str(value)


@dataclass(frozen=True)
class Number:
    """A decimal number."""

    minimum: float
    maximum: float
    unit: str

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def parse(self, text: str) -> float:
        """See :class:`Kind`."""
        if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", text):
            raise ValueError
        if not self.minimum <= float(text) <= self.maximum:
            raise ValueError
        return float(text)

    def show(self, value: float) -> str:
        """See :class:`Kind`."""
        return str(value)


@dataclass(frozen=True)
class Size:
    """Bytes, as a whole number of KiB, MiB or GiB (Kubernetes' short forms count too); 0 is ``zero``."""

    zero: str
    minimum: int = 1024**2
    maximum: int = 1024**5
    unit: str = "KiB, MiB, GiB"

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return f"0 ({self.zero}) or a size from {self.show(self.minimum)} to 1024TiB, such as 512MiB or 2GiB"

    def parse(self, text: str) -> int:
        """See :class:`Kind`."""
        if text == "0":
            return 0
        found = re.fullmatch(r"([1-9][0-9]{0,14})([KMGT])i?B?", text, re.ASCII)
        if found is None:
            raise ValueError("a size needs a unit" if text.isdecimal() else "")
        size = int(found[1]) << 10 * (1 + "KMGT".index(found[2]))
        if not self.minimum <= size <= self.maximum:
            raise ValueError
        return size

    def show(self, value: int) -> str:
        """See :class:`Kind`."""
        power = max(power for power in range(5) if value % 1024**power == 0) if value else 0
        return f"{value // 1024**power}{('', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


@dataclass(frozen=True)
class Boolean:
    """Yes or no; the words YAML 1.1 reads as booleans count in variables too."""

    allowed: str = "true, false, 1 or 0 (also yes, no, on, off)"
    unit: str = ""

    def parse(self, text: str) -> bool:
        """See :class:`Kind`."""
        word = text.lower()
        if word not in {"true", "1", "yes", "on", "false", "0", "no", "off"}:
            raise ValueError
        return word in {"true", "1", "yes", "on"}

    def show(self, value: bool) -> str:
        """See :class:`Kind`."""
        return "true" if value else "false"


@dataclass(frozen=True)
class Choice:
    """One of a few words, in any case."""

    words: tuple[str, ...]
    unit: str = ""

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return "one of " + ", ".join(self.words)

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        if text.lower() not in self.words:
            raise ValueError
        return text.lower()

    def show(self, value: str) -> str:
        """See :class:`Kind`."""
        return value


@dataclass(frozen=True)
class Word:
    """Characters without blanks; ``ascii_only`` for what travels in an HTTP header."""

    longest: int
    ascii_only: bool = False
    unit: str = ""

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        characters = "visible ASCII characters" if self.ascii_only else "visible characters"
        return f"up to {self.longest} {characters} without blanks or line breaks"

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        if len(text) > self.longest or not _is_visible(text) or (self.ascii_only and not text.isascii()):
            raise ValueError
        return text

    def show(self, value: str) -> str:
        """See :class:`Kind`."""
        return value


@dataclass(frozen=True)
class QueueNames:
    """Queue names, comma-separated in text. A name becomes part of Redis keys and its parent a folder."""

    allowed: str = (
        "queue names such as inference or inference.high, without blanks, commas, quotes, braces, "
        "slashes, or a dot at either end"
    )
    unit: str = ""

    def parse(self, text: str) -> tuple[str, ...]:
        """See :class:`Kind`. Keeps duplicates: dropping them is worth a warning."""
        return self.parse_items(tuple(text.split(",")))

    def parse_items(self, items: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of a list, one name an item; raises ValueError."""
        names = tuple(item.strip() for item in items)
        if not names:
            raise ValueError("there is none")
        for name in names:
            if not name:
                raise ValueError("one name is empty")
            if len(name) > 200:
                raise ValueError(f"{quoted(name)} is longer than 200 characters")
            if set(name) & set("\"'`"):
                # Of an env file, whose quotes are part of the value where nobody takes them off.
                raise ValueError(f"{quoted(name)} has quotes in it: write the name without them")
            if not _is_visible(name) or set(name) & set(",{}/\\") or name != name.strip("."):
                raise ValueError(f"{quoted(name)} is not one")
        return names

    def show(self, value: tuple[str, ...]) -> str:
        """See :class:`Kind`."""
        return ",".join(value)


@dataclass(frozen=True)
class Addresses:
    """Hosts with an optional port, comma-separated; the value is a ``host:port`` each."""

    default_port: int
    unit: str = ""

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return f"host or host:port, comma-separated (port {self.default_port} where none is given)"

    def parse(self, text: str) -> tuple[str, ...]:
        """See :class:`Kind`."""
        return tuple(self._parse_one(item.strip()) for item in text.split(","))

    def show(self, value: tuple[str, ...]) -> str:
        """See :class:`Kind`."""
        return ",".join(value)

    def _parse_one(self, item: str) -> str:
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?", item, re.ASCII)
        port = int(found[2] or self.default_port) if found else 0
        if found is None or not 1 <= port <= 65_535:
            raise ValueError(f"{quoted(item)} is not one" if item else "one is empty")
        return f"{found[1]}:{port}"


@dataclass(frozen=True)
class ListenAddress:
    """Where to listen: a ``host:port``, without a host on all IPv4 interfaces."""

    allowed: str = "host:port or :port, such as 127.0.0.1:8686, 0.0.0.0:8686 or [::]:8686"
    unit: str = ""

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{0,253}):([0-9]{1,5})", text, re.ASCII)
        if found is None:
            raise ValueError("a port is missing" if ":" not in text else "")
        if not 1 <= int(found[2]) <= 65_535:
            raise ValueError("ports are from 1 to 65535")
        return f"{found[1] or '0.0.0.0'}:{int(found[2])}"  # noqa: S104  what ":8686" means

    def show(self, value: str) -> str:
        """See :class:`Kind`."""
        return value


@dataclass(frozen=True)
class ServerUrl:
    """The base of an HTTP API; a trailing slash is dropped so that paths can be appended."""

    allowed: str = "an http:// or https:// URL with a host, without user, password, query or fragment"
    unit: str = ""

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        # Before urlsplit, which silently drops tabs and line breaks.
        if not _is_visible(text) or set(text) & set("@?#\\"):
            raise ValueError
        url = urlsplit(text)
        if url.scheme not in {"http", "https"} or not url.hostname or url.netloc.endswith(":"):
            raise ValueError
        if url.port == 0:
            raise ValueError("port 0 cannot be connected to")
        return text.rstrip("/")

    def show(self, value: str) -> str:
        """See :class:`Kind`."""
        return value


@dataclass(frozen=True)
class FilePath:
    """A path, relative to the working directory; nothing here looks at the disk."""

    allowed: str
    folder: bool
    unit: str = "path"

    def parse(self, text: str) -> Path:
        """See :class:`Kind`."""
        if not text.isprintable():
            raise ValueError("it has characters that cannot be printed")
        if text.startswith("~"):
            raise ValueError("~ is not expanded here: write the whole path")
        return Path(text)

    def show(self, value: Path) -> str:
        """See :class:`Kind`. A relative path says so."""
        return str(value) if value.is_absolute() else f"./{value}"


@dataclass(frozen=True)
class QueueFolder:
    """Where a queue's files are, on every machine alike; ``{parent}`` in it stands for the queue's name."""

    allowed: str = "an absolute path, such as /app or, for a folder a parent queue, /app/{parent}"
    unit: str = "path"

    def parse(self, text: str) -> Path:
        """See :class:`Kind`."""
        if not text.isprintable():
            raise ValueError("it has characters that cannot be printed")
        if not text.startswith("/") or set(text.replace("{parent}", "")) & set("{}"):
            raise ValueError
        return Path(text)

    def show(self, value: Path) -> str:
        """See :class:`Kind`."""
        return str(value)


def quoted(text: str) -> str:
    """Return ``text`` in quotes on one line, cut where it is long, unprintable characters escaped."""
    return repr(text if len(text) <= 120 else text[:120] + "...")


def without_credentials(url: str) -> str:
    """Return what may be a URL, masked after its scheme where any part of it can be a password.

    A password can hold every separator, so no attempt is made to tell the parts apart.
    """
    if not set(url) & set("@?#"):
        return url
    scheme, slashes, _ = url.partition("://")
    return scheme + slashes + MASK if slashes and scheme.isalpha() else MASK


def _is_visible(text: str) -> bool:
    return text.isprintable() and not any(map(str.isspace, text))
