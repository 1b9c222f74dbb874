"""Patterns of JSON values, and what a value has that its pattern does not. Pure.

A pattern is a JSON value, or one of these in its place: a type (``int``, ``str``, ``bool``),
:data:`ANYTHING`, :class:`Matches`, :class:`Within`, :class:`Each`, :class:`Among`, :class:`Open` and
:class:`ByAge`. An object has exactly the members of its pattern, unless that is open.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from harness.server.age import Age

#: Characters of a value that are shown.
_LONGEST = 200
#: Every value, and in an object a missing member too.
ANYTHING = object()
#: In an open object: the member must not be there.
ABSENT = object()


@dataclass(frozen=True)
class Matches:
    """A text in which the regular expression is found."""

    pattern: str


@dataclass(frozen=True)
class Within:
    """A number within these bounds, both included."""

    least: float
    most: float


@dataclass(frozen=True)
class Each:
    """A list whose every entry is like the pattern."""

    pattern: Any


@dataclass(frozen=True)
class Among:
    """A list with at least one entry like the pattern."""

    pattern: Any


@dataclass(frozen=True)
class Open:
    """An object with at least these members."""

    members: Mapping[str, Any]


@dataclass(frozen=True)
class ByAge:
    """One pattern for the older server, another for the newer."""

    older: Any
    newer: Any

    def of(self, age: Age) -> Any:
        """The one for ``age``."""
        return self.older if age is Age.OLDER else self.newer


def differences(pattern: Any, value: Any, age: Age, where: str) -> Iterator[str]:
    """A sentence per place in which ``value`` is not like ``pattern``; ``where`` names the value."""
    match pattern:
        case ByAge():
            yield from differences(pattern.of(age), value, age, where)
        case Each() if isinstance(value, list):
            for number, entry in enumerate(value):
                yield from differences(pattern.pattern, entry, age, f"{where}[{number}]")
        case Among() if isinstance(value, list):
            if all(any(differences(pattern.pattern, entry, age, where)) for entry in value):
                yield f"{where} has no entry like {_shown(pattern.pattern)}, but {_shown(value)}"
        case Open() if isinstance(value, dict):
            named = {name: each for name, each in value.items() if name in pattern.members}
            yield from _members(pattern.members, named, age, where)
        case Mapping() if isinstance(value, dict):
            yield from _members(pattern, value, age, where)
        case list() if isinstance(value, list) and len(value) == len(pattern):
            for number, (inner, entry) in enumerate(zip(pattern, value, strict=True)):
                yield from differences(inner, entry, age, f"{where}[{number}]")
        case _ if not _fits(pattern, value):
            yield f"{where} is {_shown(value)}, expected {_shown(pattern)}"


def _members(pattern: Mapping[str, Any], value: Mapping[str, Any], age: Age, where: str) -> Iterator[str]:
    for name, inner in pattern.items():
        expected = inner.of(age) if isinstance(inner, ByAge) else inner
        if name in value and expected is ABSENT:
            yield f"{where}.{name} is {_shown(value[name])}, expected no such member"
        elif name in value:
            yield from differences(expected, value[name], age, f"{where}.{name}")
        elif expected is not ABSENT and expected is not ANYTHING:
            yield f"{where}.{name} is missing, expected {_shown(expected)}"
    for name in value.keys() - pattern.keys():
        yield f"{where}.{name} is {_shown(value[name])}, expected no such member"


def _fits(pattern: Any, value: Any) -> bool:
    match pattern:
        case _ if pattern is ANYTHING:
            return True
        case type():
            return type(value) is pattern
        case Matches():
            return isinstance(value, str) and re.search(pattern.pattern, value) is not None
        case Within():
            return type(value) in {int, float} and pattern.least <= value <= pattern.most
    # 1 and True are equal in Python, and different in JSON.
    return type(value) is type(pattern) and bool(value == pattern)


def _shown(value: Any) -> str:
    match value:
        case type():
            return {"str": "a text", "int": "a whole number", "bool": "a boolean"}[value.__name__]
        case Matches():
            return f"a text like {value.pattern!r}"
        case Within():
            return f"a number from {value.least:g} to {value.most:g}"
        case Each() | Among():
            return f"a list of {_shown(value.pattern)}"
        case Open():
            return f"an object with {', '.join(value.members)}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def filled(template: Any, names: Mapping[str, str]) -> Any:  # noqa: PLR0911  one per kind
    """``template`` with each ``{name}`` of its texts replaced, however deep they stand."""
    match template:
        case str():
            return re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], found[0]), template)
        case bytes():
            return filled(template.decode(), names).encode()
        case Matches():
            escaped = {name: re.escape(text) for name, text in names.items()}
            return Matches(filled(template.pattern, escaped))
        case Each() | Among() | Open() | ByAge():
            inner = {each.name: filled(getattr(template, each.name), names) for each in fields(template)}
            return replace(template, **inner)
        case Mapping():
            return {name: filled(value, names) for name, value in template.items()}
        case list():
            return [filled(value, names) for value in template]
    return template
