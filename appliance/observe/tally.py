"""What became of a queue's tasks, counted where they pass: plain numbers, read on request. Pure."""

from bisect import bisect_left
from collections import Counter
from typing import Protocol

from appliance.process.outcome import Outcome
from appliance.queue.message import Lease, Task

#: Upper bounds of the histograms' buckets, in seconds; what is longer falls into one more.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
#: What may become of a task; for monitoring all of them exist before the first of each.
OUTCOMES = ("completed", "retried", "archived", "returned", "deferred", "refused")
#: How a run may go wrong.
FAILURES = ("failed", "crashed", "timed_out", "cancelled")


class Histogram:
    """How often how long."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Once, so long; a clock that was set back counts as no time."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus has them: upper bound, and how many are not above it."""
        total, buckets = 0, []
        for bound, count in zip((*map(float, BOUNDS_S), float("inf")), self.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(total)))
        return buckets


class TaskTrace(Protocol):
    """Gets each run of a task; only where tracing is on."""

    def ran(self, task: Task, outcome: Outcome, run_s: float) -> None:
        """The run has ended just now, after ``run_s``."""

    def settled(self, lease: Lease, outcome: str) -> None:
        """Redis has answered to the outcome, which is one of :data:`OUTCOMES`."""


class Tally:
    """One queue's.

    ``outcomes`` counts what Redis accepted and what the fence refused (refused), see :data:`OUTCOMES`;
    ``failures`` the runs that went wrong, by how, see :data:`FAILURES`. ``waits`` is the time from pending
    to taken, ``runs`` that in the process. ``trace`` gets each run, too.
    """

    __slots__ = ("failures", "outcomes", "runs", "trace", "waits")

    def __init__(self, trace: TaskTrace | None = None) -> None:
        self.trace = trace
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.runs = Histogram()
        self.waits = Histogram()
