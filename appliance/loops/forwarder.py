"""Moves due scheduled and retry tasks to pending, and sees what else a queue needs.

One command per queue and second is all an idle worker spends here: the script's answer says
whether the recoverer or the janitor have anything to do.
"""

from collections.abc import Sequence

import structlog

from appliance.loops.janitor import Janitor
from appliance.loops.recoverer import Recoverer
from appliance.queue.broker import UPKEEP_BATCH, Broker

log = structlog.get_logger()

#: Longest time between two looks, in seconds: due tasks are promised within a second.
LONGEST_S = 1.0


class Forwarder:
    """Looks after all sub-queues of one parent."""

    def __init__(self, queues: Sequence[str], broker: Broker, recoverer: Recoverer, janitor: Janitor) -> None:
        self._queues = queues
        self._broker = broker
        self._recoverer = recoverer
        self._janitor = janitor

    def tick(self) -> float:
        """Look once at every queue; returns the seconds until the next look is due."""
        wait_s = LONGEST_S
        for queue in self._queues:
            found = self._broker.forward(queue)
            if found.moved:
                log.debug("queue.forwarded", queue=queue, tasks=found.moved)
            if found.expired:
                self._recoverer.tick(queue)
            self._janitor.tick(queue, stranded=found.stranded > 0)
            if found.moved >= UPKEEP_BATCH or found.expired >= UPKEEP_BATCH:
                wait_s = 0
            elif found.next_due_in_s is not None:
                wait_s = min(wait_s, found.next_due_in_s)
        return wait_s
