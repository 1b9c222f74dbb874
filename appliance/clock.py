"""Time as a collaborator, so that whatever waits can be tested without waiting.

Two kinds of time never mix: *monotonic* seconds for deadlines, *wall* seconds since 1970 for
what others read. ``SystemClock`` looks the functions up at call time: a ``from time import
sleep`` bound before gevent patches the module would block the hub.
"""

import time
from collections.abc import Callable
from typing import Protocol

#: Seconds between two looks at whether something is done.
PAUSE_S = 0.01
#: Seconds to sleep so that everything else has a turn. Not 0: gevent may run a thousand of those before it
#: looks at timers and descriptors again.
TURN_S = 0.0001


class Clock(Protocol):
    """What the worker asks of time."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump when the machine's clock is set."""

    def sleep(self, seconds: float) -> None:
        """Let others run for this long."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """See :class:`Clock`."""
        return time.monotonic()

    def wall(self) -> float:
        """See :class:`Clock`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """See :class:`Clock`."""
        time.sleep(seconds)


def wait_until(done: Callable[[], bool], timeout_s: float, clock: Clock) -> bool:
    """Let others run until ``done``; False when that takes longer than ``timeout_s``."""
    deadline_s = clock.monotonic() + timeout_s
    while not done():
        if clock.monotonic() >= deadline_s:
            return False
        clock.sleep(PAUSE_S)
    return True
