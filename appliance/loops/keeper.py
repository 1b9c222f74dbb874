"""Keeps on disk what Redis does not take, so that it outlives this worker.

While Redis answers, an outcome is gone by the second look at it, and the disk is not touched.
"""

from collections.abc import Callable, Iterable

import gevent
import structlog

from appliance.clock import Clock
from appliance.errors import StateUnusable
from appliance.loops.aside import Aside
from appliance.queue.message import Lease
from appliance.queue.outbox import Outbox
from appliance.queue.record import Kept
from appliance.queue.settlement import Settlement

log = structlog.get_logger()

#: Seconds between two looks. An outcome that is there at both goes to disk.
LOOK_EVERY_S = 0.5
#: Seconds until a folder that could not be written is tried again.
TROUBLE_DELAY_S = 5.0


class Keeper:
    """Mirrors outcomes that wait into an :class:`Outbox`; ``outcomes`` says all there are, each with the
    identity of its Redis."""

    def __init__(
        self,
        outbox: Outbox,
        outcomes: Callable[[], Iterable[tuple[str, Settlement]]],
        clock: Clock,
        aside: Aside | None = None,
    ) -> None:
        self._outbox = outbox
        self._outcomes = outcomes
        self._clock = clock
        self._seen: dict[Lease, Kept] = {}
        self._full = self._unusable = False
        self._aside = aside or Aside()

    @property
    def size_bytes(self) -> int:
        """How much is on disk."""
        return self._outbox.size_bytes

    def tick(self) -> float:
        """Look once; returns the seconds to the next look."""
        before, self._seen = self._seen, self._look()
        late = [kept for lease, kept in self._seen.items() if lease in before]
        return LOOK_EVERY_S if self._mirror(late) else TROUBLE_DELAY_S

    def last(self, timeout_s: float) -> None:
        """Keep whatever waits now: there is no further look. Gives up after ``timeout_s`` seconds."""
        self._seen = self._look()
        tasks = [lease.task_id for lease in self._seen]
        keeping = gevent.spawn(self._mirror, list(self._seen.values()))
        keeping.join(timeout_s)
        if not keeping.ready():
            keeping.kill(block=False)
            log.error("outbox.too_slow", tasks=tasks, waited_s=timeout_s)
        elif keeping.value and tasks and not self._full:
            log.warning("outbox.kept", tasks=tasks, consequence="the next worker here delivers them")

    def _look(self) -> dict[Lease, Kept]:
        now = self._clock.wall()
        found = {}
        for redis, settlement in self._outcomes():
            known = self._seen.get(settlement.lease)
            # What Redis moved to has another identity.
            same = known is not None and known.redis == redis
            since_s = known.since_wall_s if known is not None else now
            found[settlement.lease] = known if known and same else Kept(redis, settlement, since_s)
        return found

    def _mirror(self, late: list[Kept]) -> bool:
        if not late and not self._outbox.size_bytes:
            return True
        try:
            left_out = self._aside.do(lambda: self._outbox.mirror(late))
        except StateUnusable as exc:
            if not self._unusable:
                consequence = "outcomes wait for Redis in memory only"
                log.error("outbox.unusable", error=str(exc), consequence=consequence)
            self._unusable = True
            return False
        if self._unusable:
            log.info("outbox.usable_again")
            self._unusable = False
        if left_out and not self._full:
            log.error("outbox.full", size_bytes=self.size_bytes, in_memory_only=left_out)
        self._full = bool(left_out)
        return True
