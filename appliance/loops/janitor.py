"""Clears away what no other loop does: ended tasks past their lifetime, ids left in active."""

import structlog

from appliance.clock import Clock
from appliance.queue.broker import LOOK_AGAIN_BATCH, UPKEEP_BATCH, Broker
from appliance.queue.replies import Forwarded

log = structlog.get_logger()

#: Most scripts of a kind in a row, so that the other queues have their turn, too.
MOST_IN_A_ROW = 100
#: How long an id may sit in active without a lease, in seconds. A healthy worker claims an id
#: within milliseconds of its blocking move; a slow network gets the benefit of the doubt.
STRANDED_AFTER_S = 5.0


class Janitor:
    """Looks at one queue a tick; remembers since when each stranded id is known.

    ``ttl_archived_s`` is how long a task that was archived by hand is kept, unless it is stamped.
    """

    def __init__(self, broker: Broker, clock: Clock, ttl_archived_s: float) -> None:
        self._broker = broker
        self._clock = clock
        self._ttl_archived_s = ttl_archived_s
        self._stranded_since_s: dict[str, dict[bytes, float]] = {}

    def tick(self, queue: str, found: Forwarded) -> None:
        """Do what is due; ``found`` is what the queue seems to need."""
        if found.ended_early:
            self._look_again(queue)
        if found.stranded or self._stranded_since_s.get(queue):
            self._return_stranded(queue, self._clock.monotonic())
        if found.over:
            self._purge(queue)

    def _look_again(self, queue: str) -> None:
        for _ in range(MOST_IN_A_ROW):
            if self._broker.look_again(queue) < LOOK_AGAIN_BATCH:
                return

    def _purge(self, queue: str) -> None:
        purged = 0
        for _ in range(MOST_IN_A_ROW):
            due = self._broker.purge(queue, self._ttl_archived_s)
            purged += due
            if due < UPKEEP_BATCH:
                break
        log.debug("queue.purged", queue=queue, tasks=purged)

    def _return_stranded(self, queue: str, now_s: float) -> None:
        known = self._stranded_since_s.get(queue, {})
        since_s = {task_id: known.get(task_id, now_s) for task_id in self._broker.stranded(queue)}
        overdue = [task_id for task_id, at in since_s.items() if now_s - at >= STRANDED_AFTER_S]
        if overdue:
            returned = self._broker.reclaim(queue, overdue)
            log.warning("queue.stranded_returned", queue=queue, tasks=returned)
            since_s = {task_id: at for task_id, at in since_s.items() if task_id not in overdue}
        self._stranded_since_s[queue] = since_s
