"""Reverse lookups: each says which queue a task is in, and has to end when its task does.

A lookup is in another slot, so no script can treat it together with its task. Its end travels with the
task's outcome, before it is known what the fence says; where that was wrong it is put right soon after.
A lookup that is missing is on its way: the server writes it after the enqueue. Then it is written here first,
with an end that stays when the server writes it as well.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from appliance.queue import keys
from appliance.queue.calls import Call
from appliance.queue.connection import Command
from appliance.queue.message import Lease, to_bytes
from appliance.queue.replies import FenceReply
from appliance.queue.settlement import Archive, Complete, Settlement

#: Lifetimes from here on, in seconds, are for ever; the scripts say the same. Redis has no later time.
FOREVER_S = 3_153_600_000
#: Seconds for which a task that is gone keeps a lookup, so that one that is written late ends, too. When
#: they are over the scripts look for the last time.
OF_THE_GONE_S = 120
#: What PTTL says of a key that is not there.
_NO_KEY = -2
#: Most commands that wait to be sent. Those before them go: it is some lookups' end, no task's.
_MOST_OWED = 20_000
#: What is owed for one lookup at most, each step after the answer to the one before: see ``_restore``.
_STEPS = 3


def end_with_task(lease: Lease, ttl_s: float | None, position: int, missing: set[int]) -> Call:
    """Give the lookup the task's own lifetime (None: the task is deleted, 0: for ever).

    Where there is none, ``position`` is added to ``missing``.
    """

    def accept(found: int) -> None:
        if not found:
            missing.add(position)

    lookup = _key(lease)
    if ttl_s is None:
        return Call(("UNLINK", lookup), accept, optional=True)
    if 0 < ttl_s < FOREVER_S:
        return Call(("PEXPIRE", lookup, int(ttl_s * 1000)), accept, optional=True)
    return Call(("PERSIST", lookup), optional=True)


def follow(queue: str, deleted: Sequence[bytes], kept: Sequence[Any]) -> list[Command]:
    """Do to lookups what a script did to tasks; ``kept`` is an id, its milliseconds left, an id and so on."""
    # One command each: the lookups are spread over a cluster's slots.
    commands: list[Command] = [("UNLINK", keys.lookup(task_id)) for task_id in deleted]
    for task_id, left_ms in zip(kept[::2], kept[1::2], strict=True):
        lookup = keys.lookup(task_id)
        end: Command = ("PEXPIRE", lookup, left_ms) if left_ms > 0 else ("PERSIST", lookup)
        commands += [("HSET", lookup, "queue", queue), end]
    return commands


class Owed:
    """Lookups that are to be put right, by whichever loop sends next: no outcome waits for that."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=_MOST_OWED)

    def learn(
        self,
        settlements: Sequence[Settlement],
        replies: Mapping[int, FenceReply],
        missing: Collection[int],
        *,
        keep_results: bool,
    ) -> None:
        """Note what outcomes did wrong by lookups, or what was ``missing``; all by position."""
        for position, reply in replies.items():
            settlement = settlements[position]
            if reply is FenceReply.GONE:
                # Deleted by another; what is written of it since is to end, and more is not ours to write.
                self._owe(("PEXPIRE", _key(settlement.lease), OF_THE_GONE_S * 1000))
            elif not isinstance(settlement, Complete | Archive):
                continue
            elif reply is FenceReply.LOST:
                self._restore(settlement.lease)
            elif position in missing:
                is_kept = keep_results or isinstance(settlement, Archive)
                self._owe(*_write(settlement, settlement.ttl_s if is_kept else OF_THE_GONE_S))

    def pay(self, send: Callable[[Sequence[Call]], None]) -> None:
        """Let ``send`` send what is owed; should it raise, that still is."""
        for _ in range(_STEPS):
            if not self._calls:
                return
            calls = list(self._calls)
            self._calls.clear()
            try:
                send(calls)
            except BaseException:
                self._calls.extendleft(reversed(calls))
                raise

    def _owe(self, *commands: Command) -> None:
        self._calls += [Call(command, optional=True) for command in commands]

    def _restore(self, lease: Lease) -> None:
        """Another has the task now, and it has to be found until that one has ended it.

        Where it has ended meanwhile, its lookup gets the end of its hash. That is asked for when the lookup
        is written, and not before: of a task that ends in between, nothing would end the lookup.
        """
        lookup = _key(lease)
        left = Call(
            ("PTTL", keys.task(lease.queue, to_bytes(lease.task_id))),
            partial(self._end_in, lookup),
            optional=True,
        )
        self._owe(("HSET", lookup, "queue", lease.queue))
        self._calls.append(Call(("PERSIST", lookup), lambda _: self._calls.append(left), optional=True))

    def _end_in(self, lookup: bytes, left_ms: int) -> None:
        if left_ms == _NO_KEY:
            left_ms = OF_THE_GONE_S * 1000
        if left_ms > 0:
            self._owe(("PEXPIRE", lookup, left_ms))


def _write(settlement: Settlement, ttl_s: float) -> list[Command]:
    lookup = _key(settlement.lease)
    return [("HSET", lookup, "queue", settlement.lease.queue), ("PEXPIRE", lookup, int(ttl_s * 1000))]


def _key(lease: Lease) -> bytes:
    return keys.lookup(to_bytes(lease.task_id))
