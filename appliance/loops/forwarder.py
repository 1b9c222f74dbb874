"""Moves due scheduled and retry tasks to pending, and sees what else a queue needs.

One command per queue and second is all an idle worker spends here: the script's answer says
whether the recoverer or the janitor have anything to do.

Leases also run out while Redis is away, and then nobody has died: whoever lives prolongs them when Redis
is back. Recovery waits for that, or an outage would cost every running task a retry.
"""

from collections.abc import Sequence

import structlog

from appliance.clock import Clock
from appliance.errors import QueueRejected
from appliance.loops.janitor import Janitor
from appliance.loops.recoverer import Recoverer
from appliance.queue.broker import UPKEEP_BATCH, Broker

log = structlog.get_logger()

#: Longest time between two looks, in seconds: due tasks are promised within a second.
LONGEST_S = 1.0
#: Seconds between two looks after which Redis, or this worker, must have been away.
AWAY_S = 3.0
#: Seconds that live workers then get to prolong their leases. Connecting anew may take them that long.
GRACE_S = 10.0


class Forwarder:
    """Looks after all sub-queues of one parent."""

    def __init__(
        self, queues: Sequence[str], broker: Broker, recoverer: Recoverer, janitor: Janitor, clock: Clock
    ) -> None:
        self._queues = queues
        self._broker = broker
        self._recoverer = recoverer
        self._janitor = janitor
        self._clock = clock
        self._looked_at_s: float | None = None
        self._recover_from_s = 0.0

    def tick(self) -> float:
        """Look once at every queue; returns the seconds until the next look is due."""
        wait_s, refused = LONGEST_S, None
        for queue in self._queues:
            try:
                wait_s = min(wait_s, self._look_after(queue))
            except QueueRejected as exc:
                refused = exc  # one queue's broken key is no reason to neglect the others
        if refused is not None:
            raise refused
        return wait_s

    def _look_after(self, queue: str) -> float:
        found = self._broker.forward(queue)
        self._mind_absence()
        if found.moved:
            log.debug("queue.forwarded", queue=queue, tasks=found.moved)
        recovered = 0
        if found.expired and self._clock.monotonic() >= self._recover_from_s:
            recovered = self._recoverer.tick(queue)
        self._janitor.tick(queue, stranded=found.stranded > 0)
        if found.moved >= UPKEEP_BATCH or recovered >= UPKEEP_BATCH:
            return 0.0
        return LONGEST_S if found.next_due_in_s is None else found.next_due_in_s

    def _mind_absence(self) -> None:
        now_s = self._clock.monotonic()
        if self._looked_at_s is not None and now_s - self._looked_at_s > AWAY_S:
            log.info("queue.recovery_put_off", away_s=round(now_s - self._looked_at_s, 1), for_s=GRACE_S)
            self._recover_from_s = now_s + GRACE_S
        self._looked_at_s = now_s
