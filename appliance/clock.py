"""Time as a collaborator, so that whatever waits can be tested without waiting.

Two kinds of time never mix: *monotonic* seconds for deadlines, *wall* seconds since 1970 for
what others read. ``SystemClock`` looks the functions up at call time: a ``from time import
sleep`` bound before gevent patches the module would block the hub.
"""

import time
from typing import Protocol


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
