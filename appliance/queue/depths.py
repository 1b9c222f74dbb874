"""How many tasks of each sub-queue are where; asked only when somebody wants to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appliance.clock import Clock
from appliance.errors import QueueError
from appliance.queue import keys
from appliance.queue.connection import Line, check

#: Seconds for which an answer is good enough, however many ask.
FRESH_S = 2.0


@dataclass(frozen=True)
class Depths:
    """Of one sub-queue, for all workers together."""

    pending: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    paused: bool


class DepthGauge:
    """Asks over ``line``, which nobody else uses; Redis being away means that nothing is known."""

    def __init__(self, line: Line, queues: Sequence[str], clock: Clock) -> None:
        self._line = line
        self._queues = queues
        self._clock = clock
        self._asked_s = float("-inf")
        #: What is known, by sub-queue.
        self.depths: dict[str, Depths] = {}

    def refresh(self) -> None:
        """Ask, unless somebody just has."""
        now_s = self._clock.monotonic()
        if now_s - self._asked_s < FRESH_S:
            return
        self._asked_s = now_s
        known = {}
        for queue in self._queues:
            try:
                known[queue] = self._ask(queue)
            except QueueError:
                continue  # that Redis, or a node of it, is away is reported, and logged, elsewhere
        self.depths = known

    def _ask(self, queue: str) -> Depths:
        prefix = keys.prefix(queue)
        commands = [
            ("LLEN", keys.pending(queue)),
            ("LLEN", keys.active(queue)),
            *(("ZCARD", prefix + kind) for kind in ("scheduled", "retry", "archived", "completed")),
            ("EXISTS", prefix + "paused"),
        ]
        counts: list[Any] = [check(reply) for reply in self._line.batch(commands)]
        return Depths(*counts[:-1], paused=bool(counts[-1]))  # type: ignore[misc]
