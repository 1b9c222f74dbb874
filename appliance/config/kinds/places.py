"""Values that say where something is: on the network, or on the disk, at which nothing here looks. Pure."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from appliance.config.kinds.base import Kind, Place, is_visible, quoted
from appliance.masking.matcher import MASK
from appliance.values import value_class

_HOST_AND_PORT = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?"


class _Hosts(Kind):
    """Comma-separated, each what the kind makes of it."""

    def parse(self, text: str) -> tuple[str, ...]:
        """See :class:`Kind`."""
        return tuple(self._parse_one(item.strip()) for item in text.split(","))

    def show(self, value: tuple[str, ...]) -> str:
        """See :class:`Kind`."""
        return ",".join(value)

    def plain(self, value: tuple[str, ...]) -> list[str]:
        """See :class:`Kind`."""
        return list(value)

    def statements(self, value: tuple[str, ...]) -> frozenset[str]:
        """See :class:`Kind`."""
        return frozenset(value)

    def _parse_one(self, item: str) -> str:
        raise NotImplementedError


@value_class
class Addresses(_Hosts):
    """Hosts with an optional port, comma-separated; the value is a tuple of ``host:port``."""

    default_port: int

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return f"host or host:port, comma-separated (port {self.default_port} unless one is given)"

    def _parse_one(self, item: str) -> str:
        found = re.fullmatch(_HOST_AND_PORT, item, re.ASCII)
        port = int(found[2] or self.default_port) if found else 0
        if found is None or not 1 <= port <= 65_535:
            raise ValueError(f"{quoted(item)} is not a valid address" if item else "one is empty")
        return f"{found[1]}:{port}"


@value_class
class Hosts(_Hosts):
    """Hosts, comma-separated, with a port where only that is meant; the value is a tuple in lower case."""

    allowed: str = "host (any port) or host:port, comma-separated, such as github.com,git.example.com:3000"

    def _parse_one(self, item: str) -> str:
        found = re.fullmatch(_HOST_AND_PORT, item, re.ASCII)
        if found is None or not 1 <= int(found[2] or 1) <= 65_535:
            raise ValueError(f"{quoted(item)} is not a valid host" if item else "one is empty")
        return item.lower()


@value_class
class ListenAddress(Kind):
    """Where to listen: a ``host:port``, without a host on all IPv4 interfaces."""

    allowed: str = "host:port or :port, such as 127.0.0.1:8686, 0.0.0.0:8686 or [::]:8686"

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{0,253}):([0-9]{1,5})", text, re.ASCII)
        if found is None:
            raise ValueError("a port is missing" if ":" not in text else "")
        if not 1 <= int(found[2]) <= 65_535:
            raise ValueError("ports are from 1 to 65535")
        return f"{found[1] or '0.0.0.0'}:{int(found[2])}"  # noqa: S104  what ":8686" means


@value_class
class ServerUrl(Kind):
    """The base of an HTTP API; a trailing slash is dropped so that paths can be appended."""

    allowed: str = "an http:// or https:// URL with a host, without user, password, query or fragment"

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        # Before urlsplit, which silently drops tabs and line breaks.
        if not is_visible(text) or set(text) & set("@?#\\"):
            raise ValueError
        url = urlsplit(text)
        if url.scheme not in {"http", "https"} or not url.hostname or url.netloc.endswith(":"):
            raise ValueError
        if url.port == 0:
            raise ValueError("port 0 cannot be connected to")
        return text.rstrip("/")

    def show_raw(self, text: str) -> str:
        """See :class:`Kind`. A URL with a user or a query may hold a password."""
        return quoted(without_credentials(text))


@value_class
class FilePath(Kind):
    """A path, relative to the working directory; nothing here looks at the disk.

    A folder that ``holds_programs`` stands in ``PATH``.
    """

    what: str
    folder: bool
    unit: str = "path"
    holds_programs: bool = False

    @property
    def place(self) -> Place:
        """See :class:`Kind`."""
        return Place.FOLDER if self.folder else Place.FILE

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return self.what

    def parse(self, text: str) -> Path:
        """See :class:`Kind`."""
        if not text.isprintable():
            raise ValueError("it has characters that cannot be printed")
        if text.startswith("~"):
            raise ValueError("~ is not expanded here: write the whole path")
        if self.holds_programs and ":" in text:
            raise ValueError("PATH separates folders by colons, so the programs in it could not be found")
        return Path(text)

    def show(self, value: Path) -> str:
        """See :class:`Kind`. A relative path says so."""
        return str(value) if value.is_absolute() else f"./{value}"


@value_class
class QueueFolder(Kind):
    """Where a queue's files are, on every machine alike; ``{parent}`` in it stands for the queue's name."""

    allowed: str = "an absolute path, such as /app or, for a folder per parent queue, /app/{parent}"
    unit: str = "path"

    def parse(self, text: str) -> Path:
        """See :class:`Kind`."""
        if not text.isprintable():
            raise ValueError("it has characters that cannot be printed")
        if not text.startswith("/") or set(text.replace("{parent}", "")) & set("{}"):
            raise ValueError
        return Path(text)


@value_class
class Folders(Kind):
    """Files and folders, comma-separated in text; nothing here looks at the disk."""

    allowed: str = "absolute paths, comma-separated, such as /models,/var/cache/app"
    unit: str = "path"

    def parse(self, text: str) -> tuple[Path, ...]:
        """See :class:`Kind`."""
        return self.parse_list(tuple(text.split(",")))

    def parse_list(self, items: tuple[str, ...]) -> tuple[Path, ...]:
        """See :class:`Kind`."""
        return tuple(self._parse_one(item.strip()) for item in items)

    def show(self, value: tuple[Path, ...]) -> str:
        """See :class:`Kind`."""
        return ",".join(map(str, value))

    def plain(self, value: tuple[Path, ...]) -> list[str]:
        """See :class:`Kind`."""
        return list(map(str, value))

    def statements(self, value: tuple[Path, ...]) -> frozenset[Path]:
        """See :class:`Kind`."""
        return frozenset(value)

    def _parse_one(self, item: str) -> Path:
        if not item.isprintable():
            raise ValueError("one has characters that cannot be printed")
        if not item.startswith("/"):
            raise ValueError(f"{quoted(item)} is not absolute" if item else "one is empty")
        return Path(item)


def without_credentials(url: str) -> str:
    """Return what may be a URL, masked after its scheme where any part of it can be a password.

    A password can hold every separator, so no attempt is made to tell the parts apart.
    """
    if not set(url) & set("@?#"):
        return url
    scheme, slashes, _ = url.partition("://")
    return scheme + slashes + MASK if slashes and scheme.isalpha() else MASK
