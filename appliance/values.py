"""``@value_class``: a dataclass that is frozen for the type checker, and cheap to define. Pure.

A frozen dataclass compiles six methods when its module is imported, and a worker has over a hundred of them.
Here only ``__init__`` is compiled. The other methods are shared and mean the same: equal are two of one class
with equal fields, ``field(compare=False)``, ``field(hash=…)`` and ``field(repr=False)`` (secrets) are heeded,
and what the class defines itself is kept. ``replace``, ``fields``, ``asdict`` and ``match`` work as with any
dataclass.

That a value does not change is held by mypy, which reports every assignment to a field in what it checks: the
worker and the harness. It is not checked at run time, which makes creating one quicker, too. To compare or
hash one takes a tenth of a microsecond longer than with compiled code: what is a key for every task is a
named tuple.
"""

from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, TypeVar, dataclass_transform, overload

_T = TypeVar("_T")


@overload
def value_class(cls: type[_T]) -> type[_T]: ...
@overload
def value_class(*, slots: bool) -> Callable[[type[_T]], type[_T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[Any] | None = None, *, slots: bool = False) -> Any:
    """Make a class with annotated fields one of values; with ``slots`` where there are many of them."""
    if cls is None:
        return lambda cls: _made(cls, slots=slots)
    return _made(cls, slots=slots)


def _made(cls: Any, *, slots: bool) -> Any:
    made = dataclass(repr=False, eq=False, slots=slots)(cls)
    defined = vars(cls)
    for name, method in (("__repr__", _repr), ("__eq__", _equality(made)), ("__hash__", _hash(made))):
        # Python sets the hash to None in a class that only says what is equal.
        if defined.get(name) is None:
            setattr(made, name, method)
    return made


@recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _equality(cls: Any) -> Callable[[Any, object], Any]:
    compared = _contents([one for one in fields(cls) if one.compare])

    def equal(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    return equal


def _hash(cls: Any) -> Callable[[Any], int]:
    hashed = _contents([one for one in fields(cls) if (one.compare if one.hash is None else one.hash)])
    return lambda self: hash(hashed(self))


def _contents(chosen: list[Field[Any]]) -> Callable[[Any], Any]:
    """What reads the chosen fields of a value, all at once, as a tuple where there are several."""
    return attrgetter(*(one.name for one in chosen)) if chosen else lambda _self: ()
