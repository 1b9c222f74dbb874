"""What a scenario expects, and the failure that says what was seen instead."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class NotAsClaimed(AssertionError):
    """Something is not as the scenario claims; says what, what was seen and what was expected."""

    def __init__(self, what: str, seen: object, expected: object) -> None:
        super().__init__(f"{what}: saw {seen}, expected {expected}")


def equal(what: str, seen: T, expected: T) -> None:
    """``seen`` is ``expected``."""
    if seen != expected:
        raise NotAsClaimed(what, repr(seen), repr(expected))


def between(what: str, seen: float, least: float, most: float) -> None:
    """``seen`` is within these limits, themselves included."""
    if not least <= seen <= most:
        raise NotAsClaimed(what, f"{seen:.3f}", f"{least:g} to {most:g}")


def near(what: str, seen: Sequence[float], expected: Sequence[float], within: float) -> None:
    """As many numbers as expected, none further from its own than the share ``within`` (0.15 is 15 %)."""
    close = all(abs(a - b) <= within * b for a, b in zip(seen, expected, strict=False))
    if len(seen) != len(expected) or not close:
        shown = [round(number, 3) for number in seen]
        raise NotAsClaimed(what, shown, f"{list(expected)}, each within {within:.0%}")


def true(what: str, condition: object, seen: object = "otherwise") -> None:
    """``condition`` holds; ``seen`` is what shows that it does not."""
    if not condition:
        raise NotAsClaimed(what, seen, "that it is so")


def matching(what: str, seen: str, words: str) -> None:
    """The text ``seen`` contains ``words``."""
    if words not in seen:
        raise NotAsClaimed(what, repr(seen), f"something with {words!r}")
