"""When the server is asked whether a Redis that does not answer has moved. Pure.

Rules:

- Not before the Redis has been unavailable for a while: restarts and failovers end by themselves.
- At once where it refuses our password: waiting does not change that.
- Again and again while it lasts, ever more seldom; each time with some jitter, so that a fleet that lost its
  Redis does not ask together.
"""

from collections.abc import Callable

#: Longest time between two questions, in seconds.
LONGEST_S = 300.0
#: How much longer than planned a question may wait.
JITTER = 0.25


class Absence:
    """Of one Redis. ``ask_after_s`` is the time without it before the first question; times are monotonic."""

    def __init__(self, ask_after_s: float, uniform: Callable[[float, float], float]) -> None:
        self._ask_after_s = ask_after_s
        self._uniform = uniform
        self._delay_s = 0.0
        self._ask_at_s: float | None = None
        self._refused = False

    def look(self, now_s: float, *, available: bool, refused: bool) -> bool:
        """Take in how the Redis is; returns whether the server is to be asked now."""
        if available and not refused:
            self._ask_at_s, self._delay_s, self._refused = None, 0.0, False
            return False
        if self._ask_at_s is None:
            self._plan(now_s)
        if refused and not self._refused:
            self._ask_at_s = now_s
        self._refused = refused
        return self._ask_at_s is not None and now_s >= self._ask_at_s

    def asked(self, now_s: float) -> None:
        """The server was asked, and the Redis is not available because of it yet."""
        self._plan(now_s)

    def hurry(self) -> None:
        """Ask at the next look, if it still is unavailable then."""
        if self._ask_at_s is not None:
            self._ask_at_s = 0.0

    def _plan(self, now_s: float) -> None:
        self._delay_s = min(max(2 * self._delay_s, self._ask_after_s), LONGEST_S)
        self._ask_at_s = now_s + self._delay_s * self._uniform(1.0, 1.0 + JITTER)
