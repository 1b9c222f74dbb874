"""Takes that Redis carried out and whose reply was lost: looked for once Redis is available again."""

from collections.abc import Callable, Collection, Sequence

import structlog

from appliance.clock import Clock
from appliance.errors import QueueError, QueueNodeUnavailable, QueueRejected
from appliance.queue.broker import Broker
from appliance.queue.message import Lease

log = structlog.get_logger()

#: Seconds that the end of a worker waits for a look, once no take is under way any more.
LAST_LOOK_S = 0.5


class Reconciler:
    """Returns to each queue what is leased to this worker there and not among what it ``held``."""

    def __init__(self, broker: Broker, held: Callable[[], Sequence[Lease]], clock: Clock) -> None:
        self._broker = broker
        self._held = held
        self._clock = clock
        self._due_s: dict[str, list[float]] = {}

    def later(self, queue: str, now_s: float) -> None:
        """Look at the queue as soon as its Redis answers, and again when no take is under way any more."""
        # One that was under way when the connection broke may reach Redis after the first look.
        self._due_s[queue] = [now_s, max(now_s, self._broker.takes_over_s)]

    @property
    def over(self) -> bool:
        """Whether no take may bring tasks any more, or may have, that nothing here knows of.

        True also :data:`LAST_LOOK_S` after the last could, where Redis cannot be asked.
        """
        look_s = LAST_LOOK_S if self._due_s else 0.0
        return self._clock.monotonic() >= self._broker.takes_over_s + look_s

    def tick(
        self,
        now_s: float,
        unavailable: Collection[str],
        lost: Callable[[str, QueueError], None],
        answered: Callable[[str], None],
    ) -> None:
        """Look at the queues that are due and not ``unavailable``; only while no take is under way.

        ``lost`` is called for those that Redis refused to work on, or whose node of a Redis Cluster did not
        answer, ``answered`` for the others.
        """
        for queue, due_s in list(self._due_s.items()):
            if queue in unavailable or min(due_s) > now_s:
                continue
            known = [lease.task_id for lease in self._held() if lease.queue == queue]
            try:
                returned = self._broker.reconcile(queue, known)
            except (QueueNodeUnavailable, QueueRejected) as exc:
                lost(queue, exc)
                continue
            answered(queue)
            if returned:
                log.info("queue.reconciled", queue=queue, task_ids=returned)
            self._due_s[queue] = [at_s for at_s in due_s if at_s > now_s]
            if not self._due_s[queue]:
                del self._due_s[queue]

    def next_look_s(self, now_s: float, unavailable: Collection[str]) -> float | None:
        """Seconds until the next look, but for those ``unavailable``; None where there is none to come."""
        looks_s = (
            at_s - now_s for queue, due_s in self._due_s.items() if queue not in unavailable for at_s in due_s
        )
        return min(looks_s, default=None)
