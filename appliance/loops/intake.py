"""Where tasks come from: the sub-queues, what is believed of each, and which are asked next.

A queue that a take found empty is watched, not asked again. That belief is only true while it is
watched, which is why giving up the watch always ends in asking anew.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import structlog

from appliance.errors import QueueError
from appliance.loops.order import Order
from appliance.loops.watch import Watch
from appliance.queue.broker import Ask, Taken

log = structlog.get_logger()

#: Seconds without a free slot after which a queue is not watched any more. Below that an arrival
#: waits for the slot: with short tasks that is cheaper than to stop watching after each.
HOLD_S = 0.05
#: Seconds between looks at a paused queue, and at one whose keys Redis refuses to work on.
PAUSED_RECHECK_S = 0.8
REFUSED_RECHECK_S = 5.0


class _Supply(Enum):
    MAYBE = auto()  # a take may bring something
    EMPTY = auto()  # a take brought less than asked; the watch tells when that changes
    PAUSED = auto()  # or broken; to be looked at again later


@dataclass(slots=True)
class Source:
    """One sub-queue and what we believe of it."""

    queue: str
    watch: Watch
    supply: _Supply = _Supply.MAYBE
    recheck_monotonic_s: float = 0.0
    refused: bool = False
    #: Since when what has arrived waits to be claimed; None while nothing has.
    arrived_since_s: float | None = None

    def describe(self) -> dict[str, str | bool | int]:
        """A snapshot for people."""
        return {
            "queue": self.queue,
            "supply": "refused" if self.refused else self.supply.name.lower(),
            "watched": self.watch.armed,
            "arrived": len(self.watch.arrived),
        }


class Intake:
    """``order`` says whose turn it is; it has the queues of all ``sources``."""

    def __init__(self, sources: Sequence[Source], order: Order) -> None:
        self.sources = sources
        self._order = order
        self._by_name = {source.queue: source for source in sources}
        self._full_since_s: float | None = None

    def asks(self, room: int, now_s: float, away: Collection[str] = ()) -> list[Ask]:
        """What to take next, of the queues that are not ``away``.

        What has arrived is ours already and comes first. The rest of the room is shared by those
        whose turn it is and that may have tasks; while there are such, the tiers behind them wait.
        """
        asks: list[Ask] = []
        for tier in self._order.tiers:
            if room <= 0:
                break
            sources = [self._by_name[queue] for queue in tier if queue not in away]
            for source in sources:
                self._reconsider(source, now_s)
                ids = [source.watch.arrived[i] for i in range(min(room, len(source.watch.arrived)))]
                if ids:
                    asks.append(Ask(source.queue, arrived=tuple(ids)))
                    room -= len(ids)
            willing = [source.queue for source in sources if source.supply is _Supply.MAYBE]
            if willing and room > 0:
                shares = self._order.split(willing, room)
                asks += [Ask(queue, count=count) for queue, count in shares.items()]
                break
        return asks

    def _reconsider(self, source: Source, now_s: float) -> None:
        if source.watch.failed:
            source.watch.failed, source.supply = False, _Supply.MAYBE
        if source.watch.arrived:
            source.supply = _Supply.MAYBE
        if source.supply is _Supply.PAUSED and now_s >= source.recheck_monotonic_s:
            source.supply = _Supply.MAYBE

    def learn(self, ask: Ask, taken: Taken, now_s: float) -> None:
        """What an answered ``ask`` says of its queue."""
        source = self._by_name[ask.queue]
        source.refused = False
        for _ in ask.arrived:
            source.watch.arrived.popleft()
        brought = len(taken.tasks) + len(taken.broken)
        self._order.took(ask.queue, brought)
        if taken.paused:
            source.supply, source.recheck_monotonic_s = _Supply.PAUSED, now_s + PAUSED_RECHECK_S
        elif ask.count and brought < ask.count:
            source.supply = _Supply.EMPTY
        if source.supply is not _Supply.MAYBE:
            self._order.rest(ask.queue)

    def refuse(self, ask: Ask, error: QueueError, now_s: float) -> None:
        """Redis would not do it (a key of the wrong type, no permission): the other queues go on."""
        source = self._by_name[ask.queue]
        if not source.refused:
            log.error("queue.refused", queue=ask.queue, error=str(error), again_in_s=REFUSED_RECHECK_S)
        source.refused = True
        source.watch.arrived.clear()
        source.supply, source.recheck_monotonic_s = _Supply.PAUSED, now_s + REFUSED_RECHECK_S
        self._order.rest(ask.queue)

    def doubt(self, queue: str | None = None) -> None:
        """Redis was away: nothing that was believed of the queues holds, or of this one."""
        for source in self.sources if queue is None else [self._by_name[queue]]:
            if source.supply is _Supply.EMPTY or queue is not None:
                source.supply = _Supply.MAYBE

    @property
    def watching(self) -> bool:
        """Whether an id may still arrive, or has and waits to be claimed."""
        return any(source.watch.armed or source.watch.arrived for source in self.sources)

    def arm(self) -> None:
        """Watch the empty queues.

        Without a free slot too: an urgent one must not be passed over for the next task because
        of an old belief.
        """
        for source in self.sources:
            if source.supply is _Supply.EMPTY:
                source.watch.arm()

    def let_go(
        self, room: int, now_s: float, *, is_open: bool, reclaim: Callable[[str, tuple[bytes, ...]], object]
    ) -> None:
        """Keep nothing from others that we have no use for.

        Without a free slot for long, or with intake closed, stop watching and ``reclaim`` what arrived.
        ``reclaim`` too what waits for long while slots come free and fuller queues that go first get them.
        """
        if room > 0:
            self._full_since_s = None
        elif self._full_since_s is None:
            self._full_since_s = now_s
        since_s = self._full_since_s
        full = since_s is not None and (not is_open or now_s - since_s >= HOLD_S)
        for source in self.sources:
            if full and source.watch.armed:
                source.watch.disarm()
                source.supply = _Supply.MAYBE
            if not source.watch.arrived:
                source.arrived_since_s = None
                continue
            if source.arrived_since_s is None:
                source.arrived_since_s = now_s
            if full or now_s - source.arrived_since_s >= HOLD_S:
                reclaim(source.queue, tuple(source.watch.arrived))
                source.watch.arrived.clear()
                source.arrived_since_s = None
                source.supply = _Supply.MAYBE

    def next_look_s(self, room: int, now_s: float) -> float | None:
        """Seconds until a queue is worth a look without having been woken; None for never."""
        if room > 0:
            rechecks = [s.recheck_monotonic_s - now_s for s in self.sources if s.supply is _Supply.PAUSED]
            return min(rechecks, default=None)
        return HOLD_S if self.watching else None

    def end(self) -> None:
        """Let the watches end; only once none is armed."""
        for source in self.sources:
            source.watch.end()
