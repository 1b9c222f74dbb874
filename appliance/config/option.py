"""What one option is: its names, its kind, and how it relates to others. Pure."""

from dataclasses import MISSING, fields
from enum import StrEnum
from typing import Any

from appliance.config.kinds.base import Kind, quoted
from appliance.config.settings import Settings
from appliance.masking.matcher import MASK
from appliance.values import value_class

#: What a source gives: text, or a list of texts where the file has a list.
Raw = str | tuple[str, ...]

#: The settings' classes by section of the file.
SECTIONS: dict[str, Any] = {section.name: section.type for section in fields(Settings)}


class Origin(StrEnum):
    """Whose idea a setting is."""

    SPECIFICATION = "specification"
    #: The specification has no variable for it, only a key.
    SPECIFIED_KEY = "specification (the variable: ours)"
    #: The specification has no key for it, only a variable.
    SPECIFIED_VARIABLE = "specification (the key: ours)"
    OURS = "ours"


@value_class
class Bound:
    """What an option's value must not exceed: the value of the option ``path``, or half of it."""

    path: str
    half: bool = False


@value_class
class Option:
    """One setting.

    ``path`` is its place in the file (``section.key``), ``aliases`` are other places that mean the same.
    ``go_names`` are the places and variables of the Go worker for it, where those are others: they count,
    and each use is noted with the name to write. ``from_file`` adds a variable ``<variable>_FILE`` that
    names a file whose content is the value.

    ``at_most`` bounds the value by that of another option, ``needs`` is the path of one without which this
    one means nothing, ``without`` of one that must not be set where this one is true.

    ``origin`` says whose idea it is.
    """

    path: str
    variable: str
    kind: Kind
    doc: str
    secret: bool = False
    from_file: bool = False
    aliases: tuple[str, ...] = ()
    go_names: tuple[str, ...] = ()
    at_most: Bound | None = None
    needs: str = ""
    without: str = ""
    origin: Origin = Origin.OURS

    @property
    def section(self) -> str:
        """The section of the file, which is also the field of ``Settings``."""
        return self.path.partition(".")[0]

    @property
    def field(self) -> str:
        """The field of the section's settings, which carries the value's unit where it has one."""
        return self.path.partition(".")[2] + self.kind.field_suffix

    @property
    def paths(self) -> tuple[str, ...]:
        """Every place of the file that is understood as this option, its own first."""
        return (self.path, *self.aliases, *(name for name in self.go_names if "." in name))

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that is understood as this option, its own first."""
        own = (self.variable, *([self.file_variable] if self.file_variable else []))
        return (*own, *(name for name in self.go_names if "." not in name))

    @property
    def default(self) -> Any:
        """The value that applies where no source gives one; None also where it is required."""
        default = self._field_default()
        return None if default is MISSING else default

    @property
    def required(self) -> bool:
        """Whether the worker cannot start without it."""
        return self._field_default() is MISSING

    @property
    def file_variable(self) -> str | None:
        """The variable naming a file that holds the value, for options that have one."""
        return f"{self.variable}_FILE" if self.from_file else None

    def parse(self, raw: Raw) -> Any:
        """Return the value of ``raw``; raises ValueError, its text what is wrong beside ``kind.allowed``."""
        return self.kind.parse(raw) if isinstance(raw, str) else self.kind.parse_list(raw)

    def show(self, value: Any) -> str:
        """Return a parsed value for people: as they would write it, masked where secret."""
        if value is None:
            return "not set"
        return MASK if self.secret else self.kind.show(value)

    def show_raw(self, raw: Raw) -> str:
        """Return what a source gave, for a problem line: quoted, masked where secret."""
        if self.secret:
            return MASK
        if not isinstance(raw, str):
            return "[" + ", ".join(map(quoted, raw)) + "]"
        return self.kind.show_raw(raw)

    def _field_default(self) -> Any:
        return next(field.default for field in fields(SECTIONS[self.section]) if field.name == self.field)


def missing(option: Option) -> str:
    """Return the problem line of a required option that no source gives."""
    either = f" or {option.file_variable}" if option.file_variable else ""
    return (
        f"{option.variable}: is required and not set: set it{either}, or {option.path} in the file; "
        f"it must be {option.kind.allowed}"
    )
