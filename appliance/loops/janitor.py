"""Clears away what nobody else does: ended tasks past their lifetime, ids left in active."""

import structlog

from appliance.clock import Clock
from appliance.queue.broker import UPKEEP_BATCH, Broker

log = structlog.get_logger()

#: Seconds between two purges of a queue.
PURGE_EVERY_S = 60.0
#: How long an id may sit in active without a lease, in seconds. A healthy worker claims an id
#: within milliseconds of its blocking move; a slow network gets the benefit of the doubt.
STRANDED_AFTER_S = 5.0


class Janitor:
    """Looks at one queue a tick; remembers since when each stranded id is known."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._purge_at_s: dict[str, float] = {}
        self._stranded_since_s: dict[str, dict[bytes, float]] = {}

    def tick(self, queue: str, *, stranded: bool) -> None:
        """Do what is due; ``stranded`` says whether the queue seems to have ids without a lease."""
        now_s = self._clock.monotonic()
        if stranded or self._stranded_since_s.get(queue):
            self._return_stranded(queue, now_s)
        if now_s >= self._purge_at_s.get(queue, 0.0):
            purged = self._broker.purge(queue)
            if purged:
                log.debug("queue.purged", queue=queue, tasks=purged)
            self._purge_at_s[queue] = now_s + (0 if purged >= UPKEEP_BATCH else PURGE_EVERY_S)

    def _return_stranded(self, queue: str, now_s: float) -> None:
        known = self._stranded_since_s.get(queue, {})
        since_s = {task_id: known.get(task_id, now_s) for task_id in self._broker.stranded(queue)}
        overdue = [task_id for task_id, at in since_s.items() if now_s - at >= STRANDED_AFTER_S]
        if overdue:
            returned = self._broker.reclaim(queue, overdue)
            log.warning("queue.stranded_returned", queue=queue, tasks=returned)
            since_s = {task_id: at for task_id, at in since_s.items() if task_id not in overdue}
        self._stranded_since_s[queue] = since_s
