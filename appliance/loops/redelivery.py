"""Delivers what dead workers left in the state folder, at the start and for as long as this worker lives.

Each outcome carries the fence of the attempt it belongs to. Where the task is still that attempt's, it is
settled now; where its lease lapsed and another worker has taken it, Redis refuses. Either way the matter is
closed.
Outcomes for another Redis, for queues that are not served here, or of a worker with another API key stay
where they are; so do files of another version of the format: another worker may deliver them. What is
damaged, and what no worker wrote, is set aside.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog
from redis.exceptions import TimeoutError as RedisTimeoutError

from appliance.clock import Clock
from appliance.dispatch.large import LARGE_BYTES, MOST_REFUSALS, size, why_given_up
from appliance.errors import QueueError, StateBroken, StateHangs, StateUnusable
from appliance.loops.aside import Aside
from appliance.loops.looks import LOOK_EVERY_S, Looks
from appliance.observe.pulse import Pulse
from appliance.queue import record
from appliance.queue.broker import Broker
from appliance.queue.message import Lease
from appliance.queue.outbox import Journal, Orphan, orphans, set_aside
from appliance.queue.record import Contents, Kept
from appliance.queue.replies import FenceReply
from appliance.queue.seal import Seal
from appliance.queue.settlement import Complete, Policy

log = structlog.get_logger()

#: Most outcomes in one exchange.
_BATCH = 50


class Redelivery:
    """``brokers`` are those of the queues served here, by identity of the Redis and name of the queue.

    Large outcomes go by the second of each, which may take minutes for one; ``pulse`` is to know that.
    """

    def __init__(
        self,
        folder: Path,
        brokers: Mapping[tuple[str, str], tuple[Broker, Broker]],
        clock: Clock,
        seal: Seal,
        policy: Policy,
        aside: Aside | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self._pulse = pulse
        self._policy = policy
        #: How often each large outcome was refused by itself.
        self._refusals: Counter[Lease] = Counter()
        self._aside = aside or Aside()
        self._seal = seal
        self._hung = False
        self._folder = folder
        self._brokers = brokers
        self._clock = clock
        self._said: set[tuple[str, str]] = set()
        self._looks = Looks()
        self._large_too = True

    def first(self) -> None:
        """Deliver what is delivered quickly, at the start; what is large has time until the ticks."""
        self._large_too = False
        self.tick()
        self._looks.hurry()
        self._large_too = True

    def tick(self) -> float:
        """Deliver what there is; returns the seconds to the next look.

        Never again once the disk has hung: what was under way may still be written.
        """
        if self._hung:
            return LOOK_EVERY_S
        try:
            found = self._aside.do(lambda: orphans(self._folder))
            for orphan in self._looks.due(found, self._clock.monotonic()):
                if self._deliver_file(orphan):
                    self._looks.passed(orphan)
        except StateUnusable as exc:
            self._hung = isinstance(exc, StateHangs)
            self._once(self._folder.name, "outbox.unusable", error=str(exc))
        return LOOK_EVERY_S

    def _deliver_file(self, orphan: Orphan) -> bool:
        """Whether it is not to be looked at again as it is."""
        path = orphan.path
        if not orphan.is_ours:
            consequence = "kept for a worker of that version; delete the file to give its outcomes up"
            self._once(path.name, "outbox.other_version", file=path.name, consequence=consequence)
            return True
        journal: Journal | None = None
        try:
            journal = self._aside.do(partial(Journal.adopt, path), _leave)
            if journal is None:
                return False
            self._looks.read(orphan, self._clock.monotonic())
            journal, passed = self._deliver(journal, self._aside.do(partial(journal.read, self._seal)))
            return passed
        except StateHangs:
            raise
        except StateBroken as exc:
            self._put_aside(path, file=path.name, error=str(exc))
        except StateUnusable as exc:
            self._once(path.name, "outbox.unusable", error=str(exc))
        except QueueError as exc:
            self._once(path.name, "outbox.undelivered", file=path.name, error=str(exc))
        finally:
            if journal is not None:
                self._aside.afterwards(journal.close)
        return False

    def _put_aside(self, path: Path, **about: object) -> None:
        try:
            aside = self._aside.do(partial(set_aside, path))
        except StateHangs:
            raise
        except StateUnusable as exc:
            self._once(path.name, "outbox.unusable", error=str(exc))
            return
        if aside is not None:
            self._once(path.name, "outbox.unreadable", **about, kept_in=str(aside))

    def _deliver(self, journal: Journal, contents: Contents) -> tuple[Journal, bool]:
        """Returns what has taken the file's place, and whether all that is left is for other workers."""
        name = journal.path.name
        if contents.torn_bytes:
            self._once(name, "outbox.torn", file=name, bytes=contents.torn_bytes)
        left = {kept.settlement.lease: kept for kept in contents.kept}
        for broker, batch in self._batches(contents.kept):
            done = self._settle(broker, batch, name)
            for kept in done:
                del left[kept.settlement.lease]
            if done and left:
                line = record.encode_done([kept.settlement.lease for kept in done], self._seal)
                self._aside.do(partial(journal.append, line))
        if not left and not contents.other_key:
            if contents.damaged:
                reasons = list(contents.reasons)
                self._put_aside(journal.path, file=name, lines=contents.damaged, reasons=reasons)
            else:
                self._aside.do(journal.remove)
            return journal, True
        waste = [place for lease, place in contents.places.items() if lease not in left]
        stay = [*(contents.places[lease] for lease in left), *contents.unread]
        journal = self._aside.do(partial(journal.without, waste, stay), _leave)
        if contents.damaged:
            about = {"lines": contents.damaged, "reasons": list(contents.reasons), "kept_in": name}
            self._once(name, "outbox.unreadable", file=name, **about)
        foreign = [kept for kept in left.values() if self._broker(kept) is None]
        if foreign:
            self._once(
                name,
                "outbox.not_ours",
                file=name,
                tasks=len(foreign),
                redis=sorted({kept.redis for kept in foreign}),
                queues=sorted({kept.settlement.lease.queue for kept in foreign}),
                oldest_s=round(max(self._age_s(kept) for kept in foreign)),
                consequence="kept for a worker of these queues; delete the file to give them up",
            )
        if contents.other_key:
            self._once(
                name,
                "outbox.other_api_key",
                file=name,
                lines=contents.other_key,
                consequence="kept for a worker with that API key (or as RUNQY_PREVIOUS_API_KEY); "
                "delete the file to give them up",
            )
        return journal, len(foreign) == len(left)

    def _batches(self, kept: Sequence[Kept]) -> Iterator[tuple[Broker, list[Kept]]]:
        by_broker: dict[int, tuple[tuple[Broker, Broker], list[Kept]]] = {}
        for one in kept:
            brokers = self._broker(one)
            if brokers is not None:
                by_broker.setdefault(id(brokers[0]), (brokers, []))[1].append(one)
        for (broker, _), group in by_broker.values():
            small = [one for one in group if size(one.settlement) < LARGE_BYTES]
            for start in range(0, len(small), _BATCH):
                yield broker, small[start : start + _BATCH]
        # One that Redis never takes must not keep the others from being delivered.
        for (_, broker), group in by_broker.values():
            for one in group:
                if self._large_too and size(one.settlement) >= LARGE_BYTES:
                    yield broker, [one]

    def _settle(self, broker: Broker, batch: Sequence[Kept], name: str) -> list[Kept]:
        large = size(batch[0].settlement) >= LARGE_BYTES
        if self._pulse:
            # One that takes minutes is no loop that stands still.
            self._pulse.rest(None) if large else self._pulse.begin()
        try:
            answer = broker.exchange([kept.settlement for kept in batch], ())
        except QueueError as exc:
            if not large:
                raise
            return self._large_failed(broker, batch[0], name, exc)
        broker.mend_lookups()
        if answer.failure is not None:
            self._once(name, "outbox.undelivered", file=name, error=str(answer.failure))
        done = []
        for kept, reply in zip(batch, answer.replies, strict=True):
            if reply is not None:
                _report(kept, reply, broker, self._age_s(kept))
                done.append(kept)
        return done

    def _large_failed(self, broker: Broker, kept: Kept, name: str, exc: QueueError) -> list[Kept]:
        lease = kept.settlement.lease
        self._once(f"{name} {lease.task_id}", "outbox.undelivered", file=name, error=str(exc))
        # That it was not sent in time says nothing: the connection may be slow.
        if not isinstance(exc.__cause__, RedisTimeoutError) and broker.refused(exc):
            self._refusals[lease] += 1
        if self._refusals[lease] < MOST_REFUSALS:
            return []
        del self._refusals[lease]
        instead = self._policy.refuse(lease, why_given_up(size(kept.settlement), exc))
        return self._settle(broker, [kept._replace(settlement=instead)], name) and [kept]

    def _broker(self, kept: Kept) -> tuple[Broker, Broker] | None:
        return self._brokers.get((kept.redis, kept.settlement.lease.queue))

    def _age_s(self, kept: Kept) -> float:
        return max(0.0, self._clock.wall() - kept.since_wall_s)

    def _once(self, name: str, event: str, **about: object) -> None:
        if (name, event) not in self._said:
            self._said.add((name, event))
            log.warning(event, **about)


def _leave(journal: Journal | None) -> None:
    if journal is not None:
        journal.close()


def _report(kept: Kept, reply: FenceReply, broker: Broker, waited_s: float) -> None:
    lease = kept.settlement.lease
    about = {
        "task_id": lease.task_id,
        "queue": lease.queue,
        "outcome": type(kept.settlement).__name__,
        "owner": lease.owner,
        "waited_s": round(waited_s, 1),
    }
    if reply in (FenceReply.DONE, FenceReply.SETTLED):
        log.info("outbox.delivered", **about)
    elif reply is FenceReply.GONE and isinstance(kept.settlement, Complete) and not broker.keeps_results:
        # Where no results are kept, a task that is gone was most likely completed.
        log.info("outbox.task_gone", **about)
    else:
        log.warning("outbox.refused", fence_reply=reply.value, **about)
