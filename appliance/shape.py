"""What a value from outside must look like, and the first thing about it that does not. Pure.

A shape is a :class:`Kind`, a list of one shape (a list of such), or a dict of shapes by name: an object that
has all of these. What else an object has does not matter, unless :func:`misfit` is told to be ``exact``.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from appliance.values import value_class

#: Above every count and time that anybody means, and far below where arithmetic or the calendar gives way.
LARGEST = 1e12


@value_class
class Kind:
    """One value: what is ``allowed``, for people, and whether one ``fits``."""

    allowed: str
    fits: Callable[[Any], bool]


Shape: TypeAlias = "Kind | list[Shape] | Mapping[str, Shape]"

TEXT = Kind("a text", lambda value: isinstance(value, str))
TRUTH = Kind("true or false", lambda value: isinstance(value, bool))
FINITE = Kind("a finite number", lambda value: _is_number(value) and abs(value) <= sys.float_info.max)


def number(largest: float = LARGEST) -> Kind:
    """A number from 0 to ``largest``; NaN and infinity are none."""
    return Kind(f"a number from 0 to {largest:g}", lambda value: _is_number(value) and 0 <= value <= largest)


def whole(largest: float = LARGEST) -> Kind:
    """A whole number from 0 to ``largest``."""
    return Kind(
        f"a whole number from 0 to {largest:g}",
        lambda value: _is_number(value) and not isinstance(value, float) and 0 <= value <= largest,
    )


def or_none(kind: Kind) -> Kind:
    """The same, or null."""
    return Kind(f"{kind.allowed}, or null", lambda value: value is None or kind.fits(value))


def misfit(value: Any, shape: Shape, name: str = "it", *, exact: bool = False) -> str | None:
    """Say what does not fit, by its place below ``name`` and what is allowed there; None where all does."""
    if isinstance(shape, Kind):
        return None if shape.fits(value) else f"{name} is not {shape.allowed}"
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} is not a list"
        parts = [(one, shape[0], f"{name}[{at}]") for at, one in enumerate(value)]
    else:
        if problem := _of_object(value, shape, name, exact=exact):
            return problem
        parts = [(value[key], part, f"{name}.{key}") for key, part in shape.items()]
    found = (misfit(*part, exact=exact) for part in parts)
    return next(filter(None, found), None)


def _of_object(value: Any, shape: Mapping[str, Shape], name: str, *, exact: bool) -> str | None:
    if not isinstance(value, dict):
        return f"{name} is not an object"
    if missing := next((key for key in shape if key not in value), None):
        return f"{name} has no {missing}"
    return f"{name} has more than {', '.join(shape)}" if exact and len(value) > len(shape) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
