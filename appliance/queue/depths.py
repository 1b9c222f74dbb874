"""How many tasks of each sub-queue are where; asked only when they are looked at."""

from collections.abc import Sequence

from appliance.clock import Clock
from appliance.errors import QueueError
from appliance.queue import scripts
from appliance.queue.calls import Caller
from appliance.queue.connection import Connection
from appliance.values import value_class

#: Seconds for which an answer is good enough, however many ask.
FRESH_S = 2.0


@value_class
class Depths:
    """Of one sub-queue, for all workers together.

    ``oldest_pending_s`` is how long the task that is served next has been pending: 0 where there is none,
    None where its client did not say since when.
    """

    pending: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    paused: bool
    oldest_pending_s: float | None = 0.0


class DepthGauge:
    """Asks over ``connection``, which has no other user; while Redis is unavailable nothing is known."""

    def __init__(self, connection: Connection, queues: Sequence[str], clock: Clock) -> None:
        self._caller = Caller(connection)
        self._queues = queues
        self._clock = clock
        self._asked_s = float("-inf")
        self._asking = False
        #: What is known, by sub-queue.
        self.depths: dict[str, Depths] = {}

    def refresh(self) -> None:
        """Ask, unless that was just done, or is under way: a Redis that hangs is asked once."""
        now_s = self._clock.monotonic()
        if self._asking or now_s - self._asked_s < FRESH_S:
            return
        self._asked_s, self._asking = now_s, True
        known = {}
        try:
            for queue in self._queues:
                try:
                    known[queue] = self._ask(queue)
                except QueueError:
                    continue  # that Redis, or a node of it, is away is reported, and logged, elsewhere
        finally:
            self._asking = False
        self.depths = known

    def _ask(self, queue: str) -> Depths:
        reply = self._caller.one(scripts.DEPTHS, queue, [])
        pending, active, scheduled, retry, archived, completed, paused, oldest_s = reply
        age_s = float(oldest_s) if oldest_s else None
        return Depths(
            pending,
            active,
            scheduled,
            retry,
            archived,
            completed,
            paused=bool(paused),
            oldest_pending_s=age_s if pending else 0.0,
        )
