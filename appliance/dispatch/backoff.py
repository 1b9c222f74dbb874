"""How long to wait before something that failed is tried again. Pure.

Redis, one node of a cluster, a queue Redis refuses to work on, a connection that watches a queue: whatever
fails several times in a row is tried more and more slowly, and at full speed again once it has worked.
"""

from collections.abc import Callable

from appliance.values import value_class

#: Doublings after which a delay grows no more: far beyond every longest delay, and no float overflows.
_MOST_DOUBLINGS = 20


Uniform = Callable[[float, float], float]


@value_class(slots=True)
class Delays:
    """Seconds to wait: ``first_s`` at first, twice as long after each further one, up to ``longest_s``."""

    first_s: float
    longest_s: float

    def after(self, failures: int) -> float:
        """The delay after so many consecutive failures, at least one."""
        return min(self.first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), self.longest_s)


class Backoff:
    """Consecutive failures of one thing, and when it is tried again. Times are monotonic seconds.

    With ``uniform``, :meth:`random.Random.uniform`, each delay is shortened by up to a half: where many
    workers lose the same thing, they do not come back in the same instant.
    """

    __slots__ = ("_delays", "_uniform", "failures", "retry_at_s")

    def __init__(self, delays: Delays, uniform: Uniform | None = None) -> None:
        self._delays = delays
        self._uniform = uniform
        self.failures = 0
        self.retry_at_s = 0.0

    def failed(self, now_s: float) -> float:
        """Count a failure; returns the seconds until the next try."""
        self.failures += 1
        delay_s = self._delays.after(self.failures)
        if self._uniform is not None:
            delay_s *= self._uniform(0.5, 1.0)
        self.retry_at_s = now_s + delay_s
        return delay_s

    def worked(self) -> int:
        """Start over; returns how many failures there had been."""
        failures, self.failures, self.retry_at_s = self.failures, 0, 0.0
        return failures
