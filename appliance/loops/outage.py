"""Queues whose node of a Redis Cluster is away, and when each is tried again: the others go on."""

import random
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from appliance.errors import QueueNodeUnavailable

log = structlog.get_logger()

#: First and longest pause before a queue that is away is tried again, in seconds; jittered.
PAUSES_S = (0.05, 2.0)


@dataclass(slots=True)
class _Outage:
    until_s: float
    failures: int


class Outages:
    """Those of one dispatcher's queues. Times are monotonic seconds, given by the caller."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._by_queue: dict[str, _Outage] = {}

    def begin(self, queue: str, why: QueueNodeUnavailable, now_s: float) -> None:
        """The queue's node did not answer, be it for the first time or once more."""
        failures = self._by_queue[queue].failures if queue in self._by_queue else 0
        if not failures:
            log.warning("queue.away", queue=queue, error=str(why))
        first_s, longest_s = PAUSES_S
        pause_s = min(first_s * 2 ** min(failures, 20), longest_s) * self._rng.uniform(0.5, 1.0)
        self._by_queue[queue] = _Outage(now_s + pause_s, failures + 1)

    def end(self, queue: str) -> None:
        """The queue's node has answered."""
        outage = self._by_queue.pop(queue, None)
        if outage is not None:
            log.info("queue.back", queue=queue, failures=outage.failures)

    def away(self, now_s: float) -> Collection[str]:
        """The queues not to be tried yet."""
        # Hardly ever is there one, and this is asked for every task.
        if not self._by_queue:
            return ()
        return {queue for queue, outage in self._by_queue.items() if outage.until_s > now_s}

    def next_try_s(self, now_s: float) -> float | None:
        """Seconds until the next of them is tried again; None where none is away."""
        return min((outage.until_s - now_s for outage in self._by_queue.values()), default=None)

    @property
    def any(self) -> bool:
        """Whether any is away."""
        return bool(self._by_queue)

    @property
    def most_failures(self) -> int:
        """How often in a row the one that is away longest has failed."""
        return max((outage.failures for outage in self._by_queue.values()), default=0)
