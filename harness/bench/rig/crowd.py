"""How many commands one task causes while many idle workers wait on its queue."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import redis

from harness.bench.rig.contestant import LOOK_EVERY_S
from harness.bench.rig.observer import Observer
from harness.bench.rig.ours import Ours
from harness.sandbox import patience
from harness.sandbox.runtimes.process import WorkerProcess

#: Seconds of each half, without tasks and with: a multiple of every beat an idle worker has.
HALF_S = 20.0
TASKS = 40
#: Seconds for a few workers to start, on a busy machine.
START_TIMEOUT_S = 120.0
#: Workers that start at the same moment; more would only be in each other's way.
_AT_ONCE = 5


def commands_per_task(observer: Observer, ours: Ours, db: redis.Redis, workers: int) -> float:
    """Commands above those of the same workers without tasks, for each of :data:`TASKS` single tasks."""
    observer.empty()
    sending = _cost_of_sending(observer, ours)
    observer.empty()
    with idle_workers(ours, db, workers, 1):
        before = observer.read(ours)
        time.sleep(HALF_S)
        between = observer.read(ours)
        for _ in range(TASKS):
            ours.one()
            time.sleep(HALF_S / TASKS)
        after = observer.read(ours)
    # Their halves are not equally long to the millisecond.
    idle_per_s = (between.commands - before.commands) / (between.at_s - before.at_s)
    idle = idle_per_s * (after.at_s - between.at_s)
    return (after.commands - between.commands - idle) / TASKS - sending


def _cost_of_sending(observer: Observer, ours: Ours) -> float:
    before = observer.read(ours)
    ours.one()
    return observer.read(ours).commands - before.commands


@contextlib.contextmanager
def idle_workers(
    ours: Ours, db: redis.Redis, workers: int, concurrency: int
) -> Iterator[list[WorkerProcess]]:
    """So many workers, each ready and waiting for a task."""
    with contextlib.ExitStack() as stack:
        started: list[WorkerProcess] = []
        for first in range(0, workers, _AT_ONCE):
            for _ in range(min(_AT_ONCE, workers - first)):
                started.append(ours.start(concurrency))
                stack.callback(started[-1].close)
            _until_idle(db, len(started), started[-1])
        yield started


def _until_idle(db: redis.Redis, workers: int, newest: WorkerProcess) -> None:
    """Wait until so many clients of Redis wait in a blocking command: one a worker."""

    def blocked() -> bool:
        info: Any = db.info("clients")
        return int(info["blocked_clients"]) >= workers

    patience.until(newest, blocked, START_TIMEOUT_S, f"{workers} idle workers", longest_pause_s=LOOK_EVERY_S)
