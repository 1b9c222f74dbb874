"""The only poll loop: everything that waits for something to become true waits here, bounded."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between the first two looks; the pause grows to the longest one.
FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.1


class TimedOut(AssertionError):
    """What was awaited did not come about in time; says what was seen last, and why where it can."""


def _nothing_known() -> str:
    return ""


def until(
    check: Callable[[], T],
    timeout_s: float,
    what: str,
    diagnose: Callable[[], str] = _nothing_known,
    *,
    longest_pause_s: float = LONGEST_PAUSE_S,
    fatal: tuple[type[Exception], ...] = (),
) -> T:
    """Call ``check`` until it returns something true, and return that.

    An exception from ``check`` counts as "not yet", so that a check may look at things that do
    not exist so far; :class:`TimedOut` shows the last one. Those of ``fatal`` end the waiting.
    ``what`` completes "waited for …", ``diagnose`` is asked once, when time is up, for what
    helps to see why (a log's tail). A shorter ``longest_pause_s`` is for measuring when it came about.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        error: Exception | None = None
        value: T | None = None
        try:
            value = check()
        except fatal:
            raise
        except Exception as exc:  # noqa: BLE001  whatever it is, it is reported when time is up
            error = exc
        else:
            if value:
                return value
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimedOut(_report(what, timeout_s, value, error, diagnose)) from error
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, longest_pause_s)


def _report(
    what: str, timeout_s: float, value: object, error: Exception | None, diagnose: Callable[[], str]
) -> str:
    seen = repr(value) if error is None else f"{type(error).__name__}: {error}"
    try:
        diagnosis = diagnose()
    except Exception as exc:  # noqa: BLE001  the time-out is the news, not what hides its cause
        diagnosis = f"(no diagnosis: {type(exc).__name__}: {exc})"
    lines = [f"waited {timeout_s:g} s for {what}; seen last: {seen}"]
    return "\n".join([*lines, diagnosis] if diagnosis else lines)
