"""A typed face on the scripts: what the worker can do to a queue, each an atomic transition."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from appliance.clock import Clock, SystemClock
from appliance.errors import (
    QueueError,
    QueueNodeUnavailable,
    QueueUnavailable,
    TaskUndecodable,
)
from appliance.queue import keys, lookups, scripts
from appliance.queue.calls import Call, Caller, script_call
from appliance.queue.connection import Connection, check
from appliance.queue.message import STAMPS, Lease, Stamps, parse_stamps, to_bytes
from appliance.queue.replies import Ask, Exchange, FenceReply, Forwarded, Round, Taken, parse_taken
from appliance.queue.settlement import Archive, Complete, Defer, Retry, Return, Settlement
from appliance.queue.takes import Takes

#: How many entries one upkeep script looks at, so that none holds Redis up for long.
UPKEEP_BATCH = 100
#: What a script says, as it says it.
_WORDS = {reply.value.encode(): reply for reply in FenceReply}
#: Bytes of a task's message beyond which it is not fetched, unless told otherwise: Redis' own bound.
MAX_MESSAGE_BYTES = 512 * 1024**2
#: How many settlements' worth of tasks that ended before their stamps came are looked at in one script.
LOOK_AGAIN_BATCH = 50


class Broker:
    """The queue operations of one worker over one connection to Redis.

    ``owner`` is the worker's id, stamped on every task it takes. ``owed`` may be shared with other brokers
    of the worker, of which one has to :meth:`mend_lookups`. A task of more than ``max_message_bytes`` is
    taken without its message. Every method raises
    :class:`~appliance.errors.QueueUnavailable` when Redis cannot serve now and
    :class:`~appliance.errors.QueueRejected` when it refused.
    """

    def __init__(
        self,
        connection: Connection,
        owner: str,
        lease_s: float,
        *,
        keep_results: bool,
        owed: lookups.Owed | None = None,
        clock: Clock | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._connection = connection
        self._caller = Caller(connection)
        self._owner = owner
        self._lease_s = lease_s
        self._keep_results = keep_results
        self._owed = owed or lookups.Owed()
        self._takes = Takes(owner, lease_s, max_message_bytes, clock or SystemClock())

    @property
    def takes_over_s(self) -> float:
        """Monotonic seconds from which on no take without an answer can be carried out any more."""
        return self._takes.over_s

    @property
    def keeps_results(self) -> bool:
        """Whether a completed task stays in Redis; if not, its hash is deleted at once."""
        return self._keep_results

    def exchange(self, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> Exchange:
        """Settle what finished and take what is next, in one round trip.

        Raises where the connection failed, and where Redis can do nothing of it at present. Of a Redis
        Cluster it does not: its nodes fail one by one, and those of the other queues go on.
        """
        replies: dict[int, FenceReply] = {}
        taken: dict[int, Taken] = {}
        missing: set[int] = set()
        calls = list(self._settle_calls(settlements, replies, missing))
        for position, ask in enumerate(asks):
            accept = partial(taken.__setitem__, position)
            calls.append(self._takes.call(ask, accept))
        unavailable: dict[str, QueueNodeUnavailable] = {}
        failure = self._caller.attempt(calls, unavailable)
        if isinstance(failure, QueueUnavailable) and not replies and not taken:
            raise failure
        self._owed.learn(settlements, replies, missing, keep_results=self._keep_results)
        return Exchange(
            tuple(replies.get(i) for i in range(len(settlements))),
            tuple(taken.get(i) for i in range(len(asks))),
            failure,
            unavailable,
        )

    def refused(self, exc: QueueError) -> bool:
        """Whether ``exc``, what a lone outcome met with, is about that and no trouble of Redis's own."""
        return self._caller.refused(exc)

    def mend_lookups(self) -> None:
        """Put right what outcomes did to reverse lookups, and write those that were missing."""
        self._owed.pay(self._caller.all)

    def settle(self, settlements: Sequence[Settlement]) -> tuple[FenceReply, ...]:
        """Settle tasks that this worker holds, with all that belongs to it."""
        answer = self.exchange(settlements, ())
        for failure in (answer.failure, *answer.unavailable.values()):
            if failure is not None:
                raise failure
        self.mend_lookups()
        return tuple(reply for reply in answer.replies if reply is not None)

    def settle_lapsed(self, settlements: Sequence[Retry | Archive]) -> tuple[FenceReply, ...]:
        """Settle tasks in the name of workers whose leases ran out."""
        replies: dict[int, FenceReply] = {}
        missing: set[int] = set()
        self._caller.all(list(self._settle_calls(settlements, replies, missing, lapsed=True)))
        self._owed.learn(settlements, replies, missing, keep_results=self._keep_results)
        self.mend_lookups()
        return tuple(replies[i] for i in range(len(settlements)))

    def extend(self, leases: Sequence[Lease]) -> dict[Lease, FenceReply]:
        """Prolong leases; whatever is not ``DONE`` is no longer this worker's."""
        replies: dict[Lease, FenceReply] = {}
        calls = []
        for queue, group in _by_queue(leases, lambda lease: lease.queue):
            arguments = [self._lease_s, *(text for lease in group for text in _fence(lease))]
            calls.append(script_call(scripts.EXTEND, queue, arguments, _each(replies, group)))
        self._caller.all(calls)
        return replies

    def stamps(self, leases: Sequence[Lease]) -> dict[Lease, Stamps]:
        """What is stamped on tasks by now; what cannot be read counts as not stamped."""
        commands = [("HMGET", keys.task(lease.queue, to_bytes(lease.task_id)), *STAMPS) for lease in leases]
        found = dict.fromkeys(leases, Stamps())
        for lease, reply in zip(leases, self._connection.batch(commands), strict=True):
            with suppress(TaskUndecodable):
                found[lease] = parse_stamps(check(reply))
        return found

    def reconcile(self, queue: str, known: Iterable[str]) -> list[str]:
        """Return tasks to the queue that Redis says are this worker's and it does not know of.

        Only to be called while no take is under way. Returns their ids.
        """
        arguments = [self._owner, *(to_bytes(task_id) for task_id in known)]
        reply = self._caller.one(scripts.RECONCILE, queue, arguments)
        return [task_id.decode(errors="replace") for task_id in reply]

    def forward(self, queues: Sequence[str]) -> Round:
        """Move what is due to pending, all in one round trip; one queue's trouble is not the others'."""
        replies: dict[str, Any] = {}
        calls = [
            script_call(scripts.FORWARD, queue, [UPKEEP_BATCH], partial(replies.__setitem__, queue))
            for queue in queues
        ]
        unavailable: dict[str, QueueNodeUnavailable] = {}
        failure = self._caller.attempt(calls, unavailable)
        found = {
            queue: Forwarded(moved, float(due) if due else None, lapsed, stranded, early, over, float(now_s))
            for queue, (moved, due, lapsed, stranded, early, over, now_s) in replies.items()
        }
        return Round(found, failure or next(iter(unavailable.values()), None))

    def lapsed(self, queue: str) -> Taken:
        """Tasks whose lease ran out, of all workers; nothing is changed."""
        return parse_taken(queue, self._caller.one(scripts.LAPSED, queue, [UPKEEP_BATCH]))

    def stranded(self, queue: str) -> set[bytes]:
        """Ids in active without a lease."""
        return set(self._caller.one(scripts.STRANDED, queue, []))

    def reclaim(self, queue: str, ids: Iterable[bytes]) -> int:
        """Return ids without a lease to pending; returns how many."""
        returned: int = self._caller.one(scripts.RECLAIM, queue, list(ids))
        return returned

    def purge(self, queue: str, ttl_archived_s: float) -> int:
        """Delete ended tasks whose lifetime is over, with their reverse lookups; returns how many were due.

        Tasks that were archived by hand have no lifetime; they get theirs now, ``ttl_archived_s`` without
        a stamp.
        """
        due, deleted, kept = self._caller.one(scripts.PURGE, queue, [UPKEEP_BATCH, ttl_archived_s])
        self._caller.all([Call(command) for command in lookups.follow(queue, deleted, kept)])
        return int(due)

    def look_again(self, queue: str) -> int:
        """Give tasks that ended before their stamps came the lifetimes that are stamped by now.

        Returns how many settlements' worth were looked at, :data:`LOOK_AGAIN_BATCH` at most.
        """
        entries, deleted, stamped = self._caller.one(scripts.LOOK_AGAIN, queue, [LOOK_AGAIN_BATCH])
        self._caller.all([Call(command) for command in lookups.follow(queue, deleted, stamped)])
        return int(entries)

    def _settle_calls(
        self,
        settlements: Sequence[Settlement],
        replies: dict[int, FenceReply],
        missing: set[int],
        *,
        lapsed: bool = False,
    ) -> Iterable[Call]:
        only_lapsed = int(lapsed)
        numbered = list(enumerate(settlements))
        for (queue, kind), group in _by_queue(numbered, lambda pair: (pair[1].lease.queue, type(pair[1]))):
            positions = [position for position, _ in group]
            chosen: Any = [settlement for _, settlement in group]
            accept = _each(replies, positions)
            if kind is Complete:
                arguments: list[Any] = [int(self._keep_results)]
                for done in chosen:
                    arguments += (*_fence(done.lease), done.result, done.ttl_s, done.unique_key)
                yield script_call(scripts.COMPLETE, queue, arguments, accept)
                for position, done in group:
                    ttl_s = done.ttl_s if self._keep_results else None
                    yield lookups.end_with_task(done.lease, ttl_s, position, missing)
            elif kind is Retry:
                arguments = [only_lapsed]
                for failed in chosen:
                    arguments += (
                        *_fence(failed.lease),
                        failed.delay_s,
                        failed.retried,
                        to_bytes(failed.error_msg),
                        failed.message,
                        failed.crashes,
                    )
                yield script_call(scripts.RETRY, queue, arguments, accept)
            elif kind is Archive:
                arguments = [only_lapsed]
                for dead in chosen:
                    arguments += (
                        *_fence(dead.lease),
                        dead.ttl_s,
                        to_bytes(dead.error_msg),
                        dead.message,
                        dead.crashes,
                    )
                yield script_call(scripts.ARCHIVE, queue, arguments, accept)
                for position, dead in group:
                    yield lookups.end_with_task(dead.lease, dead.ttl_s, position, missing)
            elif kind is Return:
                arguments = [text for back in chosen for text in _fence(back.lease)]
                yield script_call(scripts.RETURN, queue, arguments, accept)
            elif kind is Defer:
                arguments = []
                for later in chosen:
                    arguments += (*_fence(later.lease), later.delay_s, to_bytes(later.reason))
                yield script_call(scripts.DEFER, queue, arguments, accept)


def _each(replies: dict[Any, FenceReply], subjects: Sequence[Any]) -> Callable[[Any], None]:
    def accept(reply: Any) -> None:
        for subject, word in zip(subjects, reply, strict=True):
            replies[subject] = _WORDS[word]

    return accept


def _by_queue(items: Sequence[Any], key: Callable[[Any], Any]) -> Iterable[tuple[Any, list[Any]]]:
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups.items()


def _fence(lease: Lease) -> tuple[bytes, bytes, bytes]:
    return to_bytes(lease.task_id), to_bytes(lease.owner), to_bytes(lease.attempt)
