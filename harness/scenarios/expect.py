"""What a scenario expects, and the failure that says what was seen instead."""

import os
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


#: Seconds by which a machine that does nothing else may start a process later than asked; nothing starts it
#: earlier. A busy machine may be later, but never by so much that eight seconds pass for one or two.
LATE_S, LATEST_S = 0.4, 5.0


def slowness() -> float:
    """How many times as long as alone things may take on this machine now: by what waits for its cores."""
    return 1 + os.getloadavg()[0] / (os.cpu_count() or 1)


def waits(what: str, seen_s: Sequence[float], expected_s: Sequence[float], within: float) -> None:
    """As many waits as expected, none further from its own than the share ``within`` (0.15 is 15 %), and
    none later than that by more than :data:`LATE_S`, on a busy machine :data:`LATEST_S`."""
    late_s = min(LATE_S * slowness(), LATEST_S)
    close = all(-within * b <= a - b <= within * b + late_s for a, b in zip(seen_s, expected_s, strict=False))
    if len(seen_s) != len(expected_s) or not close:
        shown = [round(seconds, 3) for seconds in seen_s]
        raise NotAsClaimed(what, shown, f"{list(expected_s)}, each within {within:.0%} and {late_s:g} s")


def took(what: str, seen_s: float, least_s: float, most_s: float) -> None:
    """It took so many seconds, neither less than the one nor more than the other; on a busy machine more."""
    between(what, seen_s, least_s, most_s * slowness())


def true(what: str, condition: object, seen: object = "otherwise") -> None:
    """``condition`` holds; ``seen`` is what shows that it does not."""
    if not condition:
        raise NotAsClaimed(what, seen, "that it is so")


def matching(what: str, seen: str, words: str) -> None:
    """The text ``seen`` contains ``words``."""
    if words not in seen:
        raise NotAsClaimed(what, repr(seen), f"something with {words!r}")
