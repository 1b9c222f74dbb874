"""What every kind of value can do, and how values are quoted where people read them. Pure."""

from enum import Enum, auto
from typing import Any, ClassVar


class Place(Enum):
    """What a path must be on the disk before the worker starts."""

    #: A regular file that can be read.
    FILE = auto()
    #: A folder that is writable, or that can be made.
    FOLDER = auto()


class Kind:
    """How an option's text becomes its value, and back.

    Every source has text (a variable, or a scalar of the file as it was written), so that YAML's own ideas
    of ``no``, ``010`` or ``1:30`` never apply.
    """

    #: What the field of the settings has behind its name, for a value that has a unit there.
    field_suffix: ClassVar[str] = ""

    @property
    def allowed(self) -> str:
        """What is allowed, in words that complete "must be ..."."""
        raise NotImplementedError

    @property
    def unit(self) -> str:
        """What the value counts or measures, empty where it does neither."""
        return ""

    @property
    def place(self) -> Place | None:
        """What has to be there on the disk, None for what is no path or is looked at later."""
        return None

    def parse(self, text: str) -> Any:
        """Return the value of ``text``, which is not empty.

        Raises ValueError whose text, possibly empty, adds to ``allowed`` what is wrong with this very value.
        """
        raise NotImplementedError

    def parse_list(self, items: tuple[str, ...]) -> Any:  # noqa: ARG002  used by kinds that take lists
        """Return the value of a list, as the file may have one; raises ValueError."""
        raise ValueError("expected a single value, got a list")

    def show(self, value: Any) -> str:
        """Return ``value`` as an operator would write it."""
        return str(value)

    def show_raw(self, text: str) -> str:
        """Return what a source gave, for a problem line: quoted, without what may be a secret."""
        return quoted(text)

    def plain(self, value: Any) -> Any:
        """Return ``value`` as JSON data."""
        return self.show(value)

    def statements(self, value: Any) -> frozenset[Any]:
        """What ``value`` says, so that two ways of saying it can be compared."""
        return frozenset([value])

    def without_repetition(self, value: Any) -> Any:
        """Return ``value`` without what it says twice."""
        return value


def quoted(text: str) -> str:
    """Return ``text`` in quotes on one line, cut where it is long, unprintable characters escaped."""
    return repr(text if len(text) <= 120 else text[:120] + "...")


def is_visible(text: str) -> bool:
    """Whether every character of ``text`` shows, so that none is a blank or a line break."""
    return text.isprintable() and not any(map(str.isspace, text))
