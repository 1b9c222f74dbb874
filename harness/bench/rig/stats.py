"""The arithmetic of the benchmark: readings of a counter, rates, percentiles. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """What was seen at one instant: results so far, and what Redis had done until then.

    ``at_s`` is monotonic. ``commands`` counts those inside scripts too; ``requests`` is how often Redis
    read from a client, so a pipeline is one. Our own looks are not in either.
    """

    at_s: float
    done: int
    commands: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Window:
    """What lies between two readings. Raises ValueError where nothing was done in it."""

    first: Reading
    last: Reading

    def __post_init__(self) -> None:
        if self.last.done <= self.first.done or self.last.at_s <= self.first.at_s:
            raise ValueError(f"nothing happened between {self.first} and {self.last}")

    @property
    def tasks(self) -> int:
        """Results that came in it."""
        return self.last.done - self.first.done

    @property
    def tasks_per_s(self) -> float:
        """Results a second."""
        return self.tasks / (self.last.at_s - self.first.at_s)

    @property
    def commands_per_task(self) -> float:
        """Commands Redis ran for a task."""
        return (self.last.commands - self.first.commands) / self.tasks

    @property
    def requests_per_task(self) -> float:
        """Writes of the worker to Redis for a task: its round trips."""
        return (self.last.requests - self.first.requests) / self.tasks


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two there. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values have no median")
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of them do not exceed (nearest rank: always one that was seen)."""
    if not values or not 0 < percent <= 100:
        raise ValueError(f"percentile {percent} of {len(values)} values")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
