"""When the next tasks should be fetched, so that the task process never waits for Redis. Pure.

Measured, not configured: how long the last runs took, and how long Redis takes to answer. A task fetched too
late leaves the process without work for a round trip; one fetched too early waits here while another worker
could run it. How long a run will take is not known, but of the last runs that took longer than it has by now,
none ended before the shortest of them did: so that is when it may end. A guess that was wrong costs no task
anything, see :mod:`~appliance.dispatch.prefetch`.
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable

#: How many runs, and how many exchanges, are remembered.
RECENT = 16
#: How many seconds before a run may end its successor should be here: an event loop is not always in time.
SPARE_S = 0.005
#: How many seconds earlier than need be a task is fetched that can travel with what is settled anyway.
EARLY_S = 0.015
#: How many times longer than all before a run has to be to say that it is another kind of task.
MUCH_LONGER = 1.25
#: Most tasks that are fetched ahead.
MOST_AHEAD = 512
#: How many more than end in two round trips are worth it where tasks are very short: several travel together.
WORTHWHILE = 32
#: How many times longer than a wait for Redis a run must be for that wait not to matter, and what such a wait
#: takes at least, in seconds.
MATTERS, LEAST_WAIT_S = 100, 0.001


class Pace:
    """What the last runs and exchanges with Redis took, in seconds."""

    __slots__ = ("_exchanges", "_mean_s", "_runs", "_sorted", "round_trip_s")

    def __init__(self) -> None:
        self._runs: deque[float] = deque(maxlen=RECENT)
        self._sorted: list[float] = []
        self._mean_s = 0.0
        self._exchanges: deque[float] = deque(maxlen=RECENT)
        #: What Redis takes to answer, or a little more: most exchanges are faster.
        self.round_trip_s = 0.0

    def ran(self, seconds: float) -> None:
        """A run took so long."""
        self._runs.append(seconds)
        self._sorted = []

    def exchanged(self, seconds: float) -> None:
        """A round trip to Redis took so long."""
        self._exchanges.append(seconds)
        # Not the longest ones: Redis may have hung, and tasks fetched for such a time would wait here.
        self.round_trip_s = sorted(self._exchanges)[len(self._exchanges) * 3 // 4]

    def ends_in_s(self, runs: Iterable[tuple[float, float]]) -> list[float]:
        """Seconds until runs may end, the next one first.

        Of each its age is given, and how long it is believed to take at least. Those that have taken much
        longer than all before are left out, and all where waiting for Redis does not matter.
        """
        known = self._known()
        # No time at all: not even the clock has seen them run.
        if not self._mean_s or self._mean_s > MATTERS * (self.round_trip_s + LEAST_WAIT_S):
            return []
        longest_s = known[-1]
        ends = []
        for age_s, at_least_s in runs:
            position = bisect_right(known, max(age_s, at_least_s))
            if position < len(known):
                ends.append(known[position] - age_s)
            elif max(age_s, at_least_s) < MUCH_LONGER * longest_s + SPARE_S:
                ends.append(0.0)
        ends.sort()
        return ends

    def needed(self, ends_in_s: Collection[float]) -> int:
        """How many tasks are to be here, or on their way, once an exchange begins now.

        As many as will be started before the answer to the next one: it can only begin when this one is over.
        """
        until_s = 2 * self.round_trip_s + EARLY_S
        mean_s = max(self._mean_s, 1e-6)
        needed = sum(1 + int((until_s - end_s) / mean_s) for end_s in ends_in_s if end_s <= until_s)
        ending = math.ceil(len(ends_in_s) * 2 * self.round_trip_s / mean_s)
        return min(needed, ending + WORTHWHILE, MOST_AHEAD)

    @property
    def due_s(self) -> float:
        """How many seconds before a run may end its successor is to be asked for."""
        return self.round_trip_s + SPARE_S

    def _known(self) -> list[float]:
        if not self._sorted and self._runs:
            self._sorted = sorted(self._runs)
            self._mean_s = sum(self._sorted) / len(self._sorted)
        return self._sorted
