"""Takes that Redis carried out and the worker never heard of: looked for once Redis is back."""

from collections.abc import Callable, Collection, Sequence

import structlog

from appliance.errors import QueueNodeUnavailable
from appliance.queue.broker import Broker
from appliance.queue.message import Lease

log = structlog.get_logger()


class Reconciler:
    """Returns to each queue what is leased to us there and not among what we ``held``."""

    def __init__(self, broker: Broker, held: Callable[[], Sequence[Lease]], lease_s: float) -> None:
        self._broker = broker
        self._held = held
        self._lease_s = lease_s
        self._due_s: dict[str, list[float]] = {}

    def later(self, queue: str, now_s: float) -> None:
        """The queue's Redis is away: look as soon as it is back, and again for what was on its way then."""
        self._due_s[queue] = [now_s, now_s + self._lease_s / 3]

    def tick(
        self, now_s: float, away: Collection[str], lost: Callable[[str, QueueNodeUnavailable], None]
    ) -> None:
        """Look at the queues that are due and not ``away``; only while no take is under way.

        ``lost`` is told of those whose node of a Redis Cluster did not answer.
        """
        for queue, due_s in list(self._due_s.items()):
            if queue in away or min(due_s) > now_s:
                continue
            known = [lease.task_id for lease in self._held() if lease.queue == queue]
            try:
                returned = self._broker.reconcile(queue, known)
            except QueueNodeUnavailable as exc:
                lost(queue, exc)
                continue
            if returned:
                log.info("queue.reconciled", queue=queue, task_ids=returned)
            self._due_s[queue] = [at_s for at_s in due_s if at_s > now_s]
            if not self._due_s[queue]:
                del self._due_s[queue]

    def next_s(self, now_s: float, away: Collection[str]) -> list[float]:
        """Seconds until each look that is to come, but at those ``away``."""
        return [at_s - now_s for queue, due_s in self._due_s.items() if queue not in away for at_s in due_s]
