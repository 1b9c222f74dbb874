"""What Redis is asked for and what it answers, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

from appliance.errors import QueueError, QueueNodeUnavailable, TaskUndecodable
from appliance.queue.message import Lease, Task, lease_of, parse
from appliance.values import value_class


class FenceReply(StrEnum):
    """What the fence said to a settlement or an extension."""

    DONE = "done"
    SETTLED = "settled"  # this very attempt was settled before; only the reply was lost
    LOST = "lost"  # the lease ran out and another worker has the task, or another task has its id
    GONE = "gone"  # the task was deleted


@value_class(slots=True)
class Ask:
    """One take: up to ``count`` from ``queue``, or the claim of ``arrived`` ids; with neither, a look."""

    queue: str
    count: int = 0
    arrived: tuple[bytes, ...] = ()


@value_class(slots=True)
class Taken:
    """What a take brought.

    ``broken`` are tasks that were claimed but cannot be understood, with why. ``foreign`` are ids that were
    dropped: what stands at their key is no task, but something else than a hash. ``too_large`` are tasks that
    were claimed without their messages, with how many bytes these have. ``pending`` is what a look
    found, which takes nothing. ``too_late`` says that the script ran when the take did not hold any more,
    ``more`` that it brought less than asked although more may wait: messages of many bytes, or many strays.
    """

    tasks: tuple[Task, ...] = ()
    broken: tuple[tuple[Lease, str], ...] = ()
    paused: bool = False
    strays: int = 0
    now_wall_s: float = 0.0
    foreign: tuple[str, ...] = ()
    pending: int = 0
    too_late: bool = False
    too_large: tuple[tuple[Lease, int], ...] = ()
    more: bool = False


@value_class(slots=True)
class Exchange:
    """The answers to one round trip, in the order of what was asked; None where Redis refused.

    ``failure`` is the first of these refusals. The others have been carried out all the same. ``unavailable``
    are the queues whose node of a Redis Cluster could not answer, and why.
    """

    replies: tuple[FenceReply | None, ...] = ()
    taken: tuple[Taken | None, ...] = ()
    failure: QueueError | None = None
    unavailable: Mapping[str, QueueNodeUnavailable] = field(default_factory=dict)


@value_class(slots=True)
class Forwarded:
    """What forwarding found: how many were due, when the next one is, and what else needs care.

    ``lapsed`` leases, ``stranded`` ids in active without one, ``ended_early`` settlements of tasks that
    ended before their stamps came and are to be looked at again, ``over`` tasks whose lifetime is;
    ``now_s`` is Redis's time, in seconds since 1970.
    """

    moved: int
    next_due_in_s: float | None
    lapsed: int
    stranded: int
    ended_early: int
    over: int
    now_s: float


@value_class(slots=True)
class Round:
    """What a look at several queues found; ``failure`` is what the first met with that refused one."""

    found: Mapping[str, Forwarded]
    failure: QueueError | None


def parse_taken(queue: str, claimed: Sequence[Any]) -> Taken:
    """Tasks as ``claim`` in the scripts returns them."""
    tasks, broken, foreign, too_large = [], [], [], []
    for entry in claimed:
        if len(entry) == 1:
            foreign.append(entry[0].decode(errors="surrogateescape"))
            continue
        if len(entry) == 4:
            too_large.append((lease_of(queue, entry), entry[3]))
            continue
        try:
            tasks.append(parse(queue, entry))
        except TaskUndecodable as exc:
            broken.append((lease_of(queue, entry), str(exc)))
    return Taken(tuple(tasks), tuple(broken), foreign=tuple(foreign), too_large=tuple(too_large))
