"""Moves due scheduled and retry tasks to pending, and sees what else a queue needs.

One command per queue and second is all an idle worker spends here, those of all queues in one round trip: the
script's answer says whether the recoverer or the janitor have anything to do.

Leases also lapse while Redis is unavailable, although no worker has died: those that live extend them when
Redis is available again. Recovery waits for that, or an outage would cost every running task a retry. It
waits after the first look, too: this worker may have been started just as Redis came back. And it waits when
Redis's clock has been set forward, by which every lease lapses at once.
"""

from collections.abc import Sequence

import structlog

from appliance.clock import Clock
from appliance.errors import QueueRejected
from appliance.loops.janitor import Janitor
from appliance.loops.recoverer import Recoverer
from appliance.queue.broker import UPKEEP_BATCH, Broker
from appliance.queue.replies import Forwarded
from appliance.values import value_class

log = structlog.get_logger()

#: Longest time between two looks, in seconds: due tasks are promised within a second.
LONGEST_S = 1.0
#: Seconds from the end of one round of upkeep to the next look after which Redis, or this worker, must have
#: been away.
AWAY_S = 3.0
#: Seconds that live workers then get to extend their leases. To connect again may take them that long.
GRACE_S = 10.0


@value_class(slots=True)
class _Look:
    """When a look was, by our clock and by Redis's."""

    monotonic_s: float
    redis_s: float


class Forwarder:
    """Looks after all sub-queues of one parent; ``lease_s`` is how long a lease of this worker lasts."""

    def __init__(
        self,
        queues: Sequence[str],
        broker: Broker,
        recoverer: Recoverer,
        janitor: Janitor,
        clock: Clock,
        lease_s: float,
    ) -> None:
        self._queues = queues
        self._broker = broker
        self._recoverer = recoverer
        self._janitor = janitor
        self._clock = clock
        self._lease_s = lease_s
        self._last: _Look | None = None
        #: When the last round in which Redis did something ended: to clear up a lot may take long, and is no
        #: absence.
        self._ended_s = 0.0
        self._recover_from_s = 0.0

    def tick(self) -> float:
        """Look once at every queue; returns the seconds until the next look is due.

        Raises what one of the queues met with, after a look at the others: one queue's broken key is no
        reason to neglect them.
        """
        self._broker.mend_lookups()
        looked = self._broker.forward(self._queues)
        for redis_s in (found.now_s for found in looked.found.values()):
            self._mind_absence(_Look(self._clock.monotonic(), redis_s))
            break
        wait_s, failure = LONGEST_S, looked.failure
        for queue, found in looked.found.items():
            try:
                wait_s = min(wait_s, self._look_after(queue, found))
            except QueueRejected as exc:
                failure = exc
        if looked.found:
            self._ended_s = self._clock.monotonic()
        if failure is not None:
            raise failure
        return wait_s

    def _look_after(self, queue: str, found: Forwarded) -> float:
        if found.moved:
            log.debug("queue.forwarded", queue=queue, tasks=found.moved)
        recovered = 0
        if found.lapsed and self._clock.monotonic() >= self._recover_from_s:
            recovered = self._recoverer.tick(queue)
        self._janitor.tick(queue, found)
        if found.moved >= UPKEEP_BATCH or 0 < recovered < found.lapsed:
            return 0.0
        return LONGEST_S if found.next_due_in_s is None else found.next_due_in_s

    def _mind_absence(self, look: _Look) -> None:
        last, self._last = self._last, look
        if last is None:
            self._recover_from_s = look.monotonic_s + min(GRACE_S, self._lease_s)
            return
        away_s = look.monotonic_s - self._ended_s
        clock_set_by_s = look.redis_s - last.redis_s - (look.monotonic_s - last.monotonic_s)
        if away_s > AWAY_S:
            self._postpone(GRACE_S, look, away_s=round(away_s, 1))
        # Both where another server, with its own clock, has taken over.
        if clock_set_by_s > AWAY_S:
            self._postpone(self._lease_s, look, clock_set_by_s=round(clock_set_by_s, 1))

    def _postpone(self, for_s: float, look: _Look, **why: float) -> None:
        log.info("queue.recovery_postponed", for_s=for_s, **why)
        self._recover_from_s = max(self._recover_from_s, look.monotonic_s + for_s)
