"""Delivers what dead workers left in the state folder, at the start and for as long as this worker lives.

Each outcome carries the fence of the attempt it belongs to. Where the task is still that attempt's, it is
settled now; where its lease ran out and somebody else has taken it, Redis refuses. Either way the matter is
closed.
Outcomes for another Redis, or for queues that are not served here, stay where they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from appliance.clock import Clock
from appliance.errors import QueueError, StateHangs, StateUnusable
from appliance.loops.aside import Aside
from appliance.queue import record
from appliance.queue.broker import Broker, Verdict
from appliance.queue.outbox import Journal, orphans
from appliance.queue.record import Contents, Kept
from appliance.queue.settlement import Complete

log = structlog.get_logger()

#: Seconds between two looks into the folder: a neighbour's death shall not cost its results the lease.
LOOK_EVERY_S = 5.0
#: Most outcomes in one exchange.
_BATCH = 50


class Redelivery:
    """``brokers`` are those of the queues served here, by identity of the Redis and name of the queue."""

    def __init__(
        self,
        folder: Path,
        brokers: Mapping[tuple[str, str], Broker],
        clock: Clock,
        aside: Aside | None = None,
    ) -> None:
        self._aside = aside or Aside()
        self._hung = False
        self._folder = folder
        self._brokers = brokers
        self._clock = clock
        self._said: set[tuple[str, str]] = set()

    def tick(self) -> float:
        """Deliver what there is; returns the seconds to the next look.

        Never again once the disk has hung: what was under way is out of our hands.
        """
        if self._hung:
            return LOOK_EVERY_S
        try:
            for path in self._aside.do(lambda: list(orphans(self._folder))):
                self._deliver_file(path)
        except StateUnusable as exc:
            self._hung = isinstance(exc, StateHangs)
            self._once(self._folder.name, "outbox.unusable", error=str(exc))
        return LOOK_EVERY_S

    def _deliver_file(self, path: Path) -> None:
        try:
            journal = self._aside.do(lambda: Journal.adopt(path))
        except StateHangs:
            raise
        except StateUnusable as exc:
            self._once(path.name, "outbox.unusable", error=str(exc))
            return
        if journal is None:
            return
        try:
            self._deliver(journal, self._aside.do(journal.read))
        except StateHangs:
            raise
        except StateUnusable as exc:
            self._once(path.name, "outbox.unusable", error=str(exc))
        except QueueError as exc:
            self._once(path.name, "outbox.undelivered", file=path.name, error=str(exc))
        journal.close()

    def _deliver(self, journal: Journal, contents: Contents) -> None:
        name = journal.path.name
        if contents.torn:
            self._once(name, "outbox.torn", file=name, bytes=len(contents.torn))
        if contents.unreadable:
            aside = str(journal.set_aside_path)
            self._once(name, "outbox.unreadable", file=name, lines=len(contents.unreadable), kept_in=aside)
        left = {kept.settlement.lease: kept for kept in contents.kept}
        for broker, batch in self._batches(contents.kept):
            done = self._settle(broker, batch, name)
            for kept in done:
                del left[kept.settlement.lease]
            if done and left:
                line = record.encode_done([kept.settlement.lease for kept in done])
                self._aside.do(partial(journal.append, line))
        if not left:
            self._aside.do(journal.remove)
            return
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

    def _batches(self, kept: Sequence[Kept]) -> Iterator[tuple[Broker, list[Kept]]]:
        by_broker: dict[int, tuple[Broker, list[Kept]]] = {}
        for one in kept:
            broker = self._broker(one)
            if broker is not None:
                by_broker.setdefault(id(broker), (broker, []))[1].append(one)
        for broker, group in by_broker.values():
            for start in range(0, len(group), _BATCH):
                yield broker, group[start : start + _BATCH]

    def _settle(self, broker: Broker, batch: Sequence[Kept], name: str) -> list[Kept]:
        answer = broker.exchange([kept.settlement for kept in batch], ())
        if answer.failure is not None:
            self._once(name, "outbox.undelivered", file=name, error=str(answer.failure))
        done = []
        for kept, verdict in zip(batch, answer.verdicts, strict=True):
            if verdict is not None:
                self._report(kept, verdict, broker)
                done.append(kept)
        return done

    def _report(self, kept: Kept, verdict: Verdict, broker: Broker) -> None:
        lease = kept.settlement.lease
        about = {
            "task_id": lease.task_id,
            "queue": lease.queue,
            "outcome": type(kept.settlement).__name__,
            "owner": lease.owner,
            "waited_s": round(self._age_s(kept), 1),
        }
        if verdict in (Verdict.DONE, Verdict.SETTLED):
            log.info("outbox.delivered", **about)
        elif verdict is Verdict.GONE and isinstance(kept.settlement, Complete) and not broker.keeps_results:
            # Where no results are kept, a task that is gone was most likely completed.
            log.info("outbox.task_gone", **about)
        else:
            log.warning("outbox.refused", verdict=verdict.value, **about)

    def _broker(self, kept: Kept) -> Broker | None:
        return self._brokers.get((kept.redis, kept.settlement.lease.queue))

    def _age_s(self, kept: Kept) -> float:
        return max(0.0, self._clock.wall() - kept.since_wall_s)

    def _once(self, name: str, event: str, **about: object) -> None:
        if (name, event) not in self._said:
            self._said.add((name, event))
            log.warning(event, **about)
