"""For how much of the time a task process works, by the length of tasks and the way to Redis."""

import json
from collections.abc import Sequence
from pathlib import Path

import redis

from harness.bench.rig import measure
from harness.bench.rig.observer import Observer
from harness.bench.rig.ours import QUEUE, Ours
from harness.faults.latency import Latency
from harness.faults.proxy import FaultProxy
from harness.queue import asynq
from harness.sandbox.redis import RedisServer

#: Tasks at the beginning that are not counted: the worker does not know yet how long they take.
LEARNING = 10


def utilisation(
    observer: Observer,
    server: RedisServer,
    db: redis.Redis,
    folder: Path,
    command: Sequence[str],
    *,
    length_s: float,
    round_trip_s: float,
    count: int,
) -> float:
    """The part of the time for which a process with one slot and a backlog was at work, from 0 to 1.

    ``count`` tasks sleep for ``length_s`` each; how long they really took is what they say.
    """
    with FaultProxy((server.host, server.port)) as proxy:
        proxy.set(*([Latency(round_trip_s / 2)] if round_trip_s else []))
        payload = {"seconds": length_s}
        with Ours(server, folder, command, url=proxy.url(server.url), payload=payload) as ours:
            observer.empty()
            ours.enqueue(count)
            with measure.started(ours, 1) as process:
                observer.reached(ours, count, process)
        runs = sorted(_run(db, key) for key in db.scan_iter(f"{asynq.task_key(QUEUE, '')}*", count=1_000))
    return share(runs[LEARNING:])


def share(runs: Sequence[tuple[float, float]]) -> float:
    """What ``runs``, one after the other, fill of the time from the first one's begin to the last one's."""
    worked_s = sum(ended_s - began_s for began_s, ended_s in runs[:-1])
    return worked_s / (runs[-1][0] - runs[0][0])


def _run(db: redis.Redis, key: bytes) -> tuple[float, float]:
    began_s, ended_s = json.loads(db.hget(key, "result"))  # type: ignore[arg-type]
    return began_s, ended_s
