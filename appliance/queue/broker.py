"""A typed face on the scripts: what the worker can do to a queue, each an atomic transition."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import structlog
from redis.exceptions import NoScriptError

from appliance.errors import QueueError, QueueNodeUnavailable, QueueUnavailable, TaskUndecodable
from appliance.queue import keys, scripts
from appliance.queue.connection import Command, Line, check
from appliance.queue.message import Lease, Task, lease_of, parse
from appliance.queue.scripts import Script
from appliance.queue.settlement import Archive, Complete, Defer, GiveBack, Retry, Settlement

log = structlog.get_logger()

#: How many entries one upkeep script looks at, so that none holds Redis up for long.
UPKEEP_BATCH = 100
#: Lifetimes from here on, in seconds, are for ever; the scripts say the same. Redis has no later time.
FOREVER_S = 3_153_600_000


class Verdict(StrEnum):
    """What the fence said to a settlement or an extension."""

    DONE = "done"
    SETTLED = "settled"  # this very attempt was settled before; only the reply was lost
    LOST = "lost"  # the lease ran out and somebody else has the task
    GONE = "gone"  # the task was deleted


@dataclass(frozen=True, slots=True)
class Taken:
    """What a take brought. ``broken`` are tasks that were claimed but cannot be understood, with why."""

    tasks: tuple[Task, ...] = ()
    broken: tuple[tuple[Lease, str], ...] = ()
    paused: bool = False
    strays: int = 0
    now_wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One take: up to ``count`` from ``queue``, or the claim of ``arrived`` ids."""

    queue: str
    count: int = 0
    arrived: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """The answers to one round trip, in the order of what was asked; None where Redis refused.

    ``failure`` is the first of these refusals. The others have been carried out all the same. ``away`` are
    the queues whose node of a Redis Cluster could not answer, and why.
    """

    verdicts: tuple[Verdict | None, ...] = ()
    taken: tuple[Taken | None, ...] = ()
    failure: QueueError | None = None
    away: Mapping[str, QueueNodeUnavailable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What forwarding found: how many were due, when the next one is, and what else needs care."""

    moved: int
    next_due_in_s: float | None
    expired: int
    stranded: int


@dataclass(slots=True)
class _Part:
    command: Command
    script: Script | None
    accept: Callable[[Any], None] = field(default=lambda _: None)
    optional: bool = False
    queue: str = ""


class Broker:
    """The queue operations of one worker over one line to Redis.

    ``owner`` is the worker's id, stamped on every task it takes. Every method raises
    :class:`~appliance.errors.QueueUnavailable` when Redis cannot serve now and
    :class:`~appliance.errors.QueueRejected` when it refused.
    """

    def __init__(self, line: Line, owner: str, lease_s: float, *, keep_results: bool) -> None:
        self._line = line
        self._owner = owner
        self._lease_s = lease_s
        self._keep_results = keep_results
        self._complained = False

    @property
    def keeps_results(self) -> bool:
        """Whether a completed task stays in Redis; if not, its hash is deleted at once."""
        return self._keep_results

    def exchange(self, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> Exchange:
        """Settle what finished and take what is next, in one round trip.

        Raises where the connection failed, and where Redis can do nothing of it at present. Of a Redis
        Cluster it does not: its nodes fail one by one, and those of the other queues go on.
        """
        verdicts: dict[int, Verdict] = {}
        taken: dict[int, Taken] = {}
        parts = list(self._settle_parts(settlements, verdicts))
        for position, ask in enumerate(asks):
            parts.append(self._take_part(ask, position, taken))
        away: dict[str, QueueNodeUnavailable] = {}
        failure = self._try(parts, away)
        if isinstance(failure, QueueUnavailable) and not verdicts and not taken:
            raise failure
        self._mend_lookups(settlements, verdicts)
        return Exchange(
            tuple(verdicts.get(i) for i in range(len(settlements))),
            tuple(taken.get(i) for i in range(len(asks))),
            failure,
            away,
        )

    def settle(self, settlements: Sequence[Settlement]) -> tuple[Verdict, ...]:
        """Settle tasks of this worker's own."""
        answer = self.exchange(settlements, ())
        for failure in (answer.failure, *answer.away.values()):
            if failure is not None:
                raise failure
        return tuple(verdict for verdict in answer.verdicts if verdict is not None)

    def settle_expired(self, settlements: Sequence[Retry | Archive]) -> tuple[Verdict, ...]:
        """Settle tasks in the name of workers whose leases ran out."""
        verdicts: dict[int, Verdict] = {}
        self._run(list(self._settle_parts(settlements, verdicts, expired=True)))
        return tuple(verdicts[i] for i in range(len(settlements)))

    def extend(self, leases: Sequence[Lease]) -> dict[Lease, Verdict]:
        """Prolong leases; whatever is not ``DONE`` is no longer ours."""
        verdicts: dict[Lease, Verdict] = {}
        parts = []
        for queue, group in _by_queue(leases, lambda lease: lease.queue):
            arguments = [self._lease_s, *(text for lease in group for text in _fence(lease))]
            parts.append(self._part(scripts.EXTEND, queue, arguments, _each(verdicts, group)))
        self._run(parts)
        return verdicts

    def reconcile(self, queue: str, known: Iterable[str]) -> list[str]:
        """Return tasks to the queue that Redis says are ours and we do not know of.

        Only to be called while no take is under way. Returns their ids.
        """
        reply = self._call(scripts.RECONCILE, queue, [self._owner, *(_bytes(task_id) for task_id in known)])
        return [task_id.decode(errors="replace") for task_id in reply]

    def forward(self, queue: str) -> Upkeep:
        """Move what is due to pending."""
        moved, next_due, expired, stranded = self._call(scripts.FORWARD, queue, [UPKEEP_BATCH])
        return Upkeep(moved, float(next_due) if next_due else None, expired, stranded)

    def expired(self, queue: str) -> Taken:
        """Tasks whose lease ran out, whoever had them; nothing is changed."""
        reply = self._call(scripts.EXPIRED, queue, [UPKEEP_BATCH])
        return _parse_taken(queue, reply)

    def stranded(self, queue: str) -> set[bytes]:
        """Ids in active without a lease."""
        return set(self._call(scripts.STRANDED, queue, []))

    def reclaim(self, queue: str, ids: Iterable[bytes]) -> int:
        """Return ids without a lease to pending; returns how many."""
        returned: int = self._call(scripts.RECLAIM, queue, list(ids))
        return returned

    def purge(self, queue: str) -> int:
        """Delete ended tasks whose lifetime is over, with their reverse lookups; returns how many."""
        ids = self._call(scripts.PURGE, queue, [UPKEEP_BATCH])
        if ids:
            # One command each: the lookups are spread over a cluster's slots.
            for reply in self._line.batch([("UNLINK", _lookup(task_id)) for task_id in ids]):
                check(reply)
        return len(ids)

    def _settle_parts(
        self, settlements: Sequence[Settlement], verdicts: dict[int, Verdict], *, expired: bool = False
    ) -> Iterable[_Part]:
        only_expired = int(expired)
        numbered = list(enumerate(settlements))
        for (queue, kind), group in _by_queue(numbered, lambda pair: (pair[1].lease.queue, type(pair[1]))):
            positions = [position for position, _ in group]
            chosen: Any = [settlement for _, settlement in group]
            accept = _each(verdicts, positions)
            if kind is Complete:
                arguments: list[Any] = [int(self._keep_results)]
                for done in chosen:
                    arguments += (*_fence(done.lease), done.result, done.ttl_s, done.unique_key)
                yield self._part(scripts.COMPLETE, queue, arguments, accept)
                for done in chosen:
                    yield self._lookup_part(done.lease, done.ttl_s if self._keep_results else None)
            elif kind is Retry:
                arguments = [only_expired]
                for failed in chosen:
                    arguments += (
                        *_fence(failed.lease),
                        failed.delay_s,
                        failed.retried,
                        _bytes(failed.error_msg),
                        failed.message,
                    )
                yield self._part(scripts.RETRY, queue, arguments, accept)
            elif kind is Archive:
                arguments = [only_expired]
                for dead in chosen:
                    arguments += (*_fence(dead.lease), dead.ttl_s, _bytes(dead.error_msg), dead.message)
                yield self._part(scripts.ARCHIVE, queue, arguments, accept)
                for dead in chosen:
                    yield self._lookup_part(dead.lease, dead.ttl_s)
            elif kind is GiveBack:
                arguments = [text for back in chosen for text in _fence(back.lease)]
                yield self._part(scripts.GIVE_BACK, queue, arguments, accept)
            elif kind is Defer:
                arguments = []
                for later in chosen:
                    arguments += (*_fence(later.lease), later.delay_s, _bytes(later.reason))
                yield self._part(scripts.DEFER, queue, arguments, accept)

    def _lookup_part(self, lease: Lease, ttl_s: float | None) -> _Part:
        """Give the reverse lookup the task's own lifetime (None: the task is deleted, 0: for ever)."""
        lookup = _lookup(_bytes(lease.task_id))
        if ttl_s is None:
            return _Part(("UNLINK", lookup), None, optional=True)
        if 0 < ttl_s < FOREVER_S:
            return _Part(("PEXPIRE", lookup, int(ttl_s * 1000)), None, optional=True)
        return _Part(("PERSIST", lookup), None, optional=True)

    def _mend_lookups(self, settlements: Sequence[Settlement], verdicts: dict[int, Verdict]) -> None:
        """Undo what a refused outcome did to the task's reverse lookup.

        The lookup travels with the outcome, in a slot of its own, before it is known what the fence
        says. The task is somebody else's now, and has to be found until that one has ended it.
        """
        commands: list[Command] = []
        for position, settlement in enumerate(settlements):
            if verdicts.get(position) is Verdict.LOST and isinstance(settlement, Complete | Archive):
                lookup = _lookup(_bytes(settlement.lease.task_id))
                commands += [("HSET", lookup, "queue", settlement.lease.queue), ("PERSIST", lookup)]
        if commands:
            self._try([_Part(command, None, optional=True) for command in commands], {})

    def _take_part(self, ask: Ask, position: int, taken: dict[int, Taken]) -> _Part:
        def accept(reply: Any) -> None:
            paused, strays, now, *claimed = reply
            found = _parse_taken(ask.queue, claimed)
            taken[position] = Taken(found.tasks, found.broken, bool(paused), strays, float(now))

        if ask.arrived:
            return self._part(scripts.ACTIVATE, ask.queue, [self._owner, self._lease_s, *ask.arrived], accept)
        return self._part(scripts.TAKE, ask.queue, [self._owner, self._lease_s, ask.count], accept)

    def _part(
        self, script: Script, queue: str, arguments: Sequence[Any], accept: Callable[[Any], None]
    ) -> _Part:
        command = ("EVALSHA", script.digest, 1, keys.prefix(queue), *arguments)
        return _Part(command, script, accept, queue=queue)

    def _call(self, script: Script, queue: str, arguments: Sequence[Any]) -> Any:
        replies: list[Any] = []
        self._run([self._part(script, queue, arguments, replies.append)])
        return replies[0]

    def _run(self, parts: Sequence[_Part]) -> None:
        """Send the parts together, and raise what went wrong with the first that went wrong."""
        away: dict[str, QueueNodeUnavailable] = {}
        for failure in (self._try(parts, away), *away.values()):
            if failure is not None:
                raise failure

    def _try(self, parts: Sequence[_Part], away: dict[str, QueueNodeUnavailable]) -> QueueError | None:
        """Send the parts together; a script that Redis does not have (any more) is sent again as its source.

        Returns the first error reply to a part that is not optional; what the other parts brought is
        accepted, since it has happened. The queues whose node is away go into ``away`` instead.
        """
        failure: QueueError | None = None
        unknown = []
        for part, reply in zip(parts, self._line.batch([part.command for part in parts]), strict=True):
            if isinstance(reply, NoScriptError) and part.script is not None:
                # EVAL loads it too, and where it is needed: each node of a cluster has scripts of its own.
                source = ("EVAL", part.script.source, *part.command[2:])
                unknown.append(replace(part, command=source, script=None))
                continue
            try:
                part.accept(check(reply))
            except QueueError as exc:
                if part.optional:
                    self._complain(exc)
                elif isinstance(exc, QueueNodeUnavailable):
                    away[part.queue] = exc
                else:
                    failure = failure or exc
        again = self._try(unknown, away) if unknown else None
        return failure or again

    def _complain(self, exc: QueueError) -> None:
        """Say once that reverse lookups cannot be written: no reason to keep a result from its owner."""
        if not self._complained:
            self._complained = True
            log.warning("queue.lookup_refused", error=str(exc), consequence="reverse lookups keep their age")


def _parse_taken(queue: str, claimed: Sequence[Any]) -> Taken:
    tasks, broken = [], []
    for entry in claimed:
        try:
            tasks.append(parse(queue, entry))
        except TaskUndecodable as exc:
            broken.append((lease_of(queue, entry), str(exc)))
    return Taken(tuple(tasks), tuple(broken))


def _each(verdicts: dict[Any, Verdict], subjects: Sequence[Any]) -> Callable[[Any], None]:
    def accept(reply: Any) -> None:
        for subject, word in zip(subjects, reply, strict=True):
            verdicts[subject] = Verdict(word.decode())

    return accept


def _by_queue(items: Sequence[Any], key: Callable[[Any], Any]) -> Iterable[tuple[Any, list[Any]]]:
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups.items()


def _fence(lease: Lease) -> tuple[bytes, bytes, bytes]:
    return _bytes(lease.task_id), _bytes(lease.owner), _bytes(lease.attempt)


def _bytes(text: str) -> bytes:
    """Text back to the bytes it came as; ids are not always UTF-8."""
    return text.encode(errors="surrogateescape")


def _lookup(task_id: bytes) -> bytes:
    return keys.lookup("").encode() + task_id
