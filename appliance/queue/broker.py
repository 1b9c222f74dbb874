"""A typed face on the scripts: what the worker can do to a queue, each an atomic transition."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from redis.exceptions import NoScriptError

from appliance.errors import QueueUnavailable, TaskUndecodable
from appliance.queue import keys, scripts
from appliance.queue.connection import Channel, Command, check
from appliance.queue.message import Lease, Task, lease_of, parse
from appliance.queue.scripts import Script
from appliance.queue.settlement import Archive, Complete, Defer, GiveBack, Retry, Settlement

#: How many entries one upkeep script looks at, so that none holds Redis up for long.
UPKEEP_BATCH = 100


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
    """The answers to one round trip, in the order of what was asked."""

    verdicts: tuple[Verdict, ...] = ()
    taken: tuple[Taken, ...] = ()


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


class Broker:
    """The queue operations of one worker over one channel.

    ``owner`` is the worker's id, stamped on every task it takes. Every method raises
    :class:`~appliance.errors.QueueUnavailable` when Redis cannot serve now and
    :class:`~appliance.errors.QueueRejected` when it refused.
    """

    def __init__(self, channel: Channel, owner: str, lease_s: float, *, keep_results: bool) -> None:
        self._channel = channel
        self._owner = owner
        self._lease_s = lease_s
        self._keep_results = keep_results

    def exchange(self, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> Exchange:
        """Settle what finished and take what is next, in one round trip."""
        verdicts: dict[int, Verdict] = {}
        taken: dict[int, Taken] = {}
        parts = list(self._settle_parts(settlements, verdicts))
        for position, ask in enumerate(asks):
            parts.append(self._take_part(ask, position, taken))
        self._run(parts)
        return Exchange(
            tuple(verdicts[i] for i in range(len(settlements))), tuple(taken[i] for i in range(len(asks)))
        )

    def settle(self, settlements: Sequence[Settlement]) -> tuple[Verdict, ...]:
        """Settle tasks of this worker's own."""
        return self.exchange(settlements, ()).verdicts

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
            for reply in self._channel.batch([("UNLINK", _lookup(task_id)) for task_id in ids]):
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
            return _Part(("UNLINK", lookup), None)
        if ttl_s > 0:
            return _Part(("PEXPIRE", lookup, int(ttl_s * 1000)), None)
        return _Part(("PERSIST", lookup), None)

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
        return _Part(command, script, accept)

    def _call(self, script: Script, queue: str, arguments: Sequence[Any]) -> Any:
        replies: list[Any] = []
        self._run([self._part(script, queue, arguments, replies.append)])
        return replies[0]

    def _run(self, parts: Sequence[_Part]) -> None:
        """Send the parts together; scripts Redis does not have (any more) are loaded and sent again."""
        pending = list(parts)
        # A second round is for loading; a third means Redis forgets scripts as fast as we load them.
        for _ in range(3):
            if not pending:
                return
            replies = self._channel.batch([part.command for part in pending])
            unknown = []
            for part, reply in zip(pending, replies, strict=True):
                if isinstance(reply, NoScriptError):
                    unknown.append(part)
                else:
                    part.accept(check(reply))
            if unknown:
                for reply in self._channel.batch([("SCRIPT", "LOAD", s.source) for s in scripts.ALL]):
                    check(reply)
            pending = unknown
        if pending:
            raise QueueUnavailable("Redis keeps forgetting the worker's scripts (SCRIPT FLUSH in a loop?)")


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


def _fence(lease: Lease) -> tuple[bytes, str, str]:
    return _bytes(lease.task_id), lease.owner, lease.attempt


def _bytes(text: str) -> bytes:
    """Text back to the bytes it came as; ids are not always UTF-8."""
    return text.encode(errors="surrogateescape")


def _lookup(task_id: bytes) -> bytes:
    return keys.lookup("").encode() + task_id
