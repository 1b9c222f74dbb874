"""Planned faults put into effect: each kind is a context manager, entered and left when the plan says so."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import redis

from harness.chaos.crew import Place
from harness.chaos.plan import REDIS, PlannedFault
from harness.evidence import invariants
from harness.faults import processes
from harness.faults import redis as redis_faults
from harness.faults.bandwidth import Bandwidth
from harness.faults.cut_after import CutAfter
from harness.faults.disk import SmallDisk
from harness.faults.half_open import HalfOpen
from harness.faults.jitter import Jitter
from harness.faults.latency import Latency
from harness.faults.link import Direction, Fault
from harness.faults.lose_reply import LoseReply
from harness.faults.proxy import FaultProxy
from harness.faults.refuse import Refuse
from harness.faults.reset import ResetConnections
from harness.faults.stall import Stall
from harness.sandbox.redis import RedisServer

#: Seconds a worker may take to try again after its Redis came back, and to notice that one went silent.
TRIES_AGAIN_S, NOTICES_S = 8.0, 15.0


class NotHere(Exception):
    """This machine cannot do that; the message says why."""


@dataclass(frozen=True)
class Rig:
    """What can be troubled. Of each worker's place: itself, its link to Redis and to the server, its disk
    (None where there can be no small one).
    """

    db: redis.Redis
    redis: RedisServer
    places: Sequence[Place]
    links: Sequence[FaultProxy]
    doors: Sequence[FaultProxy]
    disks: Sequence[SmallDisk | None]


def lingers_s(kind: str) -> float:
    """For how long a fault may be felt when it is over."""
    return NOTICES_S if kind in {"half open", "stands still", "stalled", "replies stalled"} else TRIES_AGAIN_S


def inject(fault: PlannedFault, rig: Rig) -> AbstractContextManager[None]:
    """The fault, to be entered. Raises :class:`NotHere`."""
    if fault.target == REDIS:
        return _REDIS[fault.kind](rig)
    number = int(fault.target)
    if fault.kind in _LINK:
        return rig.links[number].holding(_LINK[fault.kind](fault.parameters))
    if fault.kind in _DOOR:
        return rig.doors[number].holding(_DOOR[fault.kind](fault.parameters))
    if fault.kind == _DISK_FULL:
        return _disk_full(rig.places[number], rig.disks[number])
    return _WORKER[fault.kind](rig.places[number])


@contextlib.contextmanager
def _at_once(act: Callable[[], object]) -> Iterator[None]:
    act()
    yield


def _redis_stands_still(rig: Rig) -> AbstractContextManager[None]:
    return processes.stopped(rig.redis.pid) if rig.redis.pid else contextlib.nullcontext()


def _stopped(place: Place) -> AbstractContextManager[None]:
    return processes.stopped(place.worker.pid) if place.worker else contextlib.nullcontext()


def _task_process_stopped(place: Place) -> AbstractContextManager[None]:
    found = _task_process(place)
    return processes.stopped(found) if found else contextlib.nullcontext()


def _task_process_killed(place: Place) -> AbstractContextManager[None]:
    found = _task_process(place)
    return _at_once(lambda: processes.kill(found) if found else None)


def _task_process(place: Place) -> int | None:
    found = processes.task_processes(place.worker, ["main.py"]) if place.worker else []
    return found[0] if found else None


@contextlib.contextmanager
def _disk_full(place: Place, disk: SmallDisk | None) -> Iterator[None]:
    """With a worker that is killed, so that its successor has to start there."""
    if disk is None:
        raise NotHere("only root may mount the small file system that a full disk takes")
    with disk.full():
        place.kill()
        yield


_DISK_FULL = "disk full"
Parameters = Mapping[str, float]
_REDIS: Mapping[str, Callable[[Rig], AbstractContextManager[None]]] = {
    "clients killed": lambda rig: _at_once(lambda: redis_faults.kill_clients(rig.db)),
    "scripts flushed": lambda rig: _at_once(lambda: redis_faults.flush_scripts(rig.db)),
    "read only": lambda rig: redis_faults.read_only(rig.db),
    "power cut": lambda rig: redis_faults.down(rig.redis),
    "restarted": lambda rig: _at_once(rig.redis.restart),
    "stands still": _redis_stands_still,
}
_WORKER: Mapping[str, Callable[[Place], AbstractContextManager[None]]] = {
    "worker killed": lambda place: _at_once(place.kill),
    "worker asked to end": lambda place: _at_once(place.ask_to_end),
    invariants.WORKER_STOPPED: _stopped,
    invariants.TASK_PROCESS_KILLED: _task_process_killed,
    "task process stopped": _task_process_stopped,
}
_LINK: Mapping[str, Callable[[Parameters], Fault]] = {
    "latency": lambda given: Latency(given["delay_s"]),
    "jitter": lambda given: Jitter(given["most_s"]),
    "bandwidth": lambda given: Bandwidth(given["bytes_per_s"]),
    "reset": lambda _: ResetConnections(),
    "refused": lambda _: Refuse(),
    "half open": lambda _: HalfOpen(),
    "stalled": lambda _: Stall(),
    "replies stalled": lambda _: Stall(frozenset({Direction.REPLY})),
    "cut after": lambda given: CutAfter(math.ceil(given["count"])),
    "replies lost": lambda given: LoseReply(given["chance"]),
}
_DOOR: Mapping[str, Callable[[Parameters], Fault]] = {
    "server refuses": lambda _: Refuse(),
    "server slow": lambda given: Latency(given["delay_s"]),
}
#: Every kind there is.
KINDS = frozenset({*_REDIS, *_WORKER, *_LINK, *_DOOR, _DISK_FULL})
