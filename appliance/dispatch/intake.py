"""Where tasks come from: the queues of one parent, what is believed of each, and which are asked next.

A queue that a take found empty is watched, not asked again. That belief holds only while the queue is
watched, so that the end of a watch is followed by another ask.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import structlog

from appliance.dispatch.backoff import Backoff, Delays
from appliance.dispatch.order import Order
from appliance.dispatch.watch import Watch, disarm
from appliance.errors import QueueError, QueueNodeUnavailable, QueueRejected
from appliance.queue.replies import Ask, Taken

log = structlog.get_logger()

#: Seconds without a free slot after which a queue is not watched any more. Below that an arrival
#: waits for the slot: with short tasks that is cheaper than to stop watching after each.
HOLD_S = 0.05
#: Seconds that what has arrived waits to be claimed, while fuller queues get the slots that come free.
ARRIVED_HOLD_S = 0.05
#: Seconds between looks at a paused queue.
PAUSED_RECHECK_S = 0.8
#: Between tries of a queue that Redis refuses to work on (a key of the wrong type, no permission): only
#: people can change that.
REFUSED_DELAYS = Delays(5.0, 5.0)


class _Supply(Enum):
    MAYBE = auto()  # a take may bring something
    EMPTY = auto()  # a take brought less than asked; the watch tells when that changes
    PAUSED = auto()  # or refused; to be looked at again later


@dataclass(slots=True)
class Source:
    """One queue and what is believed of it."""

    queue: str
    watch: Watch
    supply: _Supply = _Supply.MAYBE
    #: Whether that was seen, and not only supposed.
    seen: bool = False
    recheck_monotonic_s: float = 0.0
    refusals: Backoff = field(default_factory=lambda: Backoff(REFUSED_DELAYS))
    #: Since when what has arrived waits to be claimed; None while nothing has.
    arrived_since_s: float | None = None

    def doubt(self) -> None:
        """Nothing is known of it any more."""
        self.supply, self.seen = _Supply.MAYBE, False

    def describe(self) -> dict[str, str | bool | int]:
        """A snapshot for people."""
        return {
            "queue": self.queue,
            "supply": "refused" if self.refusals.failures else self.supply.name.lower(),
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

    def asks(self, room: int, now_s: float, unavailable: Collection[str] = ()) -> list[Ask]:
        """What to take next, from the queues that are not ``unavailable``.

        What has arrived is in this worker's hands already and comes first. The rest of the room is shared by
        those whose turn it is and that may have tasks; while there are such, the tiers behind them wait.
        """
        asks: list[Ask] = []
        for tier in self._order.tiers:
            if room <= 0:
                break
            sources = [self._by_name[queue] for queue in tier if queue not in unavailable]
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
                asks += self._looks({ask.queue for ask in asks}, unavailable)
                break
        return asks

    @property
    def tiers(self) -> Mapping[str, int]:
        """Which tier each queue stands in, 0 for those that no other one goes before."""
        return {queue: number for number, tier in enumerate(self._order.tiers) for queue in tier}

    def _looks(self, asked: Collection[str], unavailable: Collection[str]) -> list[Ask]:
        """Looks at the queues that come after those ``asked``, should these turn out to be empty.

        They save a round trip for each queue: with many of them and a distant Redis more than tasks take.
        """
        unseen = [
            source.queue
            for source in self.sources
            if source.supply is _Supply.MAYBE and not source.seen and source.queue not in asked
        ]
        return [Ask(queue) for queue in unseen if queue not in unavailable] if len(unseen) > 1 else []

    def _reconsider(self, source: Source, now_s: float) -> None:
        if source.watch.failed:
            source.watch.failed = False
            source.doubt()
        if source.watch.arrived:
            source.supply = _Supply.MAYBE
        if source.supply is _Supply.PAUSED and now_s >= source.recheck_monotonic_s:
            source.doubt()

    def learn(self, ask: Ask, taken: Taken, now_s: float) -> None:
        """What an answered ``ask`` says of its queue."""
        if taken.too_late:
            return  # nothing was done and nothing is known: it is asked again
        source = self._by_name[ask.queue]
        source.refusals.worked()
        source.seen = True
        if not (ask.count or ask.arrived):
            if not taken.pending and not source.watch.arrived:
                source.supply = _Supply.EMPTY
                self._order.rest(ask.queue)
            return
        for _ in ask.arrived:
            source.watch.arrived.popleft()
        brought = len(taken.tasks) + len(taken.broken) + len(taken.foreign) + len(taken.too_large)
        self._order.took(ask.queue, brought)
        if taken.paused:
            source.supply, source.recheck_monotonic_s = _Supply.PAUSED, now_s + PAUSED_RECHECK_S
        elif ask.count and brought < ask.count and not taken.more:
            source.supply = _Supply.EMPTY
        if source.supply is not _Supply.MAYBE:
            self._order.rest(ask.queue)

    def refused(self, ask: Ask, error: QueueError, now_s: float) -> None:
        """Redis refused to take from this queue; the other queues go on."""
        source = self._by_name[ask.queue]
        first = not source.refusals.failures
        delay_s = source.refusals.failed(now_s)
        if first:
            log.error("queue.refused", queue=ask.queue, error=str(error), again_in_s=delay_s)
        # They have no lease, so that upkeep returns them; a claim would only be refused again.
        source.watch.arrived.clear()
        source.supply, source.recheck_monotonic_s = _Supply.PAUSED, source.refusals.retry_at_s
        self._order.rest(ask.queue)

    def recheck(self, queue: str | None = None) -> None:
        """Nothing that was believed of the queues, or of this one, holds: ask again."""
        if queue is not None:
            self._by_name[queue].doubt()
            return
        for source in self.sources:
            if source.supply is _Supply.EMPTY:
                source.doubt()

    def returned(self, queue: str) -> None:
        """A task goes back to it: it is not empty, whatever was seen before."""
        if self._by_name[queue].supply is _Supply.EMPTY:
            self._by_name[queue].doubt()

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

    def release(
        self,
        room: int,
        free: int,
        now_s: float,
        is_open: bool,
        reclaim: Callable[[str, tuple[bytes, ...]], object],
        lost: Callable[[str, QueueError], None],
    ) -> None:
        """Keep nothing from other workers that this one has no use for.

        Without a free slot for long, or with the gate shut, stop watching and ``reclaim`` what arrived.
        ``room`` without a ``free`` slot is for what is fetched ahead: it counts where some queue may have it.
        ``reclaim`` too what waits for long while slots come free and fuller queues that go first get them.
        ``lost`` is called for a queue that Redis refused to work on, or whose node of a Redis Cluster did not
        answer.
        """
        if room > 0 and (free > 0 or any(source.supply is _Supply.MAYBE for source in self.sources)):
            self._full_since_s = None
        elif self._full_since_s is None:
            self._full_since_s = now_s
        since_s = self._full_since_s
        full = since_s is not None and (not is_open or now_s - since_s >= HOLD_S)
        if full:
            armed = [source for source in self.sources if source.watch.armed]
            disarm([source.watch for source in armed])
            for source in armed:
                source.doubt()
        for source in self.sources:
            if not source.watch.arrived:
                source.arrived_since_s = None
                continue
            if source.arrived_since_s is None:
                source.arrived_since_s = now_s
            if full or now_s - source.arrived_since_s >= ARRIVED_HOLD_S:
                ids = tuple(source.watch.arrived)
                # In this order: where Redis does not answer, the ids stay here to be reclaimed later.
                try:
                    reclaim(source.queue, ids)
                except (QueueNodeUnavailable, QueueRejected) as exc:
                    # They have no lease: the upkeep of any worker returns them when the node is back.
                    lost(source.queue, exc)
                # Only these: one more may have arrived while Redis was asked.
                for _ in ids:
                    source.watch.arrived.popleft()
                source.arrived_since_s = None
                source.doubt()

    def next_look_s(self, room: int, free: int, now_s: float) -> float | None:
        """Seconds until a queue is worth a look without having been woken; None for never."""
        looks = []
        if room > 0:
            looks = [s.recheck_monotonic_s - now_s for s in self.sources if s.supply is _Supply.PAUSED]
        if free <= 0 and self.watching:
            looks.append(HOLD_S)
        return min(looks, default=None)

    def end(self) -> None:
        """Let the watches end; only once none is armed."""
        for source in self.sources:
            source.watch.end()
