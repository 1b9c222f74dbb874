"""Whether tasks are so short that the next ones should be fetched while others run. Pure.

Measured, not configured: with runs of a tenth of a millisecond, waiting for Redis between two tasks
is most of the time; with runs of a second it is nothing, and a task that waits here could run
elsewhere. One long run is believed at once, short ones only after several.
"""

import math

#: Seconds of running above which nothing is fetched ahead: there is nothing left to gain.
SHORT_S = 0.005
#: Seconds after which a task that was fetched ahead and still waits goes back to the queue.
HOLD_S = 0.01
#: Most tasks that are fetched ahead, and how many are worth it where Redis answers faster than they run:
#: several then travel in one exchange.
MOST_AHEAD = 128
WORTHWHILE = 32
#: How much of an average each new measurement makes.
_WEIGHT = 0.1
#: How many runs must be known before anything is concluded from them.
_ENOUGH = 5


class Pace:
    """What runs and exchanges with Redis have taken lately, in seconds."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._run_s = 0.0
        self._exchange_s = 0.0
        self._runs = 0

    def ran(self, seconds: float) -> None:
        """A run took so long, or has taken so long already."""
        self._runs += 1
        if seconds >= SHORT_S or self._runs == 1:
            self._run_s = max(seconds, self._run_s)
        else:
            self._run_s += _WEIGHT * (seconds - self._run_s)

    def exchanged(self, seconds: float) -> None:
        """A round trip to Redis took so long."""
        self._exchange_s += _WEIGHT * (seconds - self._exchange_s)

    @property
    def ahead(self) -> int:
        """How many tasks to have beside the running ones: as many as end in the time of two exchanges.

        One exchange is under way while they run, and the next one can only begin when it is over.
        Never so many that the last would wait for half of :data:`HOLD_S`.
        """
        if self._runs < _ENOUGH or self._run_s >= SHORT_S:
            return 0
        slots_per_s = self._concurrency / max(self._run_s, 1e-6)
        ending = max(WORTHWHILE, math.ceil(2 * self._exchange_s * slots_per_s))
        return min(MOST_AHEAD, ending, max(1, int(HOLD_S / 2 * slots_per_s)))
