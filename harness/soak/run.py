"""``runqy-harness soak``: a worker under a steady load for a while, and what it holds meanwhile."""

import contextlib
import json
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import psutil
import redis

from harness import wait
from harness.bench.rig.ours import QUEUE, Ours
from harness.bench.rig.room import room
from harness.bench.rig.tables import number, table
from harness.failure import CommandFailed
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox import patience
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.stack import WORKER_COMMAND
from harness.soak.growth import FEWEST, Change, Look, judge

#: Looks in all, and the fewest seconds between two.
LOOKS = 40
PAUSE_S = 0.5
#: Seconds that a task stays in Redis after its end: with a load that goes on, keys stay as many.
TTL_S = 2
#: A payload of every so many tasks is this large.
LARGE_EVERY, LARGE_BYTES = 50, 500_000
_CONCURRENCY = 8
_ANSWER_S = 60.0
#: The event of a line of stacks, how each greenlet begins in them, and about how many lines it has.
_STACK, _ONE, _LINES_OF_ONE = "worker.stack", "+--- <", 10
_MB = 1_000_000


@dataclass(frozen=True)
class SoakOptions:
    """``rate`` tasks a second for ``duration_s`` seconds."""

    duration_s: float
    rate: int
    worker_command: Sequence[str] = WORKER_COMMAND


def run(out: TextIO, options: SoakOptions, json_to: Path | None) -> int:
    """Print the looks, the first and the last values; 1 where something grows.

    Raises :class:`~harness.failure.CommandFailed` where nothing can be measured.
    """
    with (
        room() as place,
        Ours(place.server, place.folder / "ours", options.worker_command) as ours,
        contextlib.closing(place.server.client()) as db,
        _worker(ours) as worker,
    ):
        out.write(f"{options.rate} tasks/s for {options.duration_s:g} s\n")
        out.flush()
        looks = list(_looks(db, worker, options))
    changes = judge(looks)
    out.write("\n".join(told(looks, changes)) + "\n")
    if json_to is not None:
        document = {"looks": [asdict(look) for look in looks], "changes": [asdict(each) for each in changes]}
        json_to.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if any(change.growth for change in changes) else 0


@contextlib.contextmanager
def _worker(ours: Ours) -> Iterator[WorkerProcess]:
    process = ours.start(_CONCURRENCY)
    try:
        patience.until(
            process, lambda: "worker.ready" in process.log_text(), _ANSWER_S, "the worker to be ready"
        )
        yield process
    finally:
        process.close()


def _looks(db: redis.Redis, worker: WorkerProcess, options: SoakOptions) -> Iterator[Look]:
    began_s = time.monotonic()
    every_s = max(PAUSE_S, options.duration_s / LOOKS)
    if options.duration_s < FEWEST * every_s:
        raise CommandFailed(
            f"--duration: {options.duration_s:g} s say nothing, at least {FEWEST * PAUSE_S:g} s"
        )
    sent, next_look_s = 0, every_s
    while (passed_s := time.monotonic() - began_s) < options.duration_s:
        due = int(passed_s * options.rate) - sent
        if due > 0:
            _send(db, sent, due)
            sent += due
        if passed_s >= next_look_s:
            next_look_s = passed_s + every_s
            yield Look(passed_s, _figures(db, worker))
        time.sleep(0.05)
    if (left := asynq.get_pending(db, QUEUE)) and len(left) > 10 * options.rate:
        raise CommandFailed(f"the worker did not keep up: {len(left)} tasks wait; take a lower --rate")


def _send(db: redis.Redis, first: int, count: int) -> None:
    """Tasks of all sizes, which are gone soon after their end."""
    tasks = [
        NewTask(
            payload="x" * (LARGE_BYTES if number % LARGE_EVERY == 0 else 100),
            stamps={"ttl_completed": TTL_S, "ttl_archived": TTL_S},
        )
        for number in range(first, first + count)
    ]
    asynq.seed_pending(db, QUEUE, *tasks)


def _figures(db: redis.Redis, worker: WorkerProcess) -> Mapping[str, float]:
    if worker.exit_status is not None:
        raise CommandFailed(f"the worker has ended:\n{worker.tail()}")
    if failed := asynq.get_counters(db, QUEUE)["failed"]:
        raise CommandFailed(f"{failed} runs of tasks failed, and none should:\n{worker.tail()}")
    process = psutil.Process(worker.pid)
    memory: Any = db.info("memory")
    return {
        "memory, MB": process.memory_info().rss / _MB,
        "descriptors": process.num_fds(),
        "greenlets": _greenlets(worker),
        "threads": process.num_threads(),
        "keys": db.dbsize(),
        "memory of Redis, MB": memory["used_memory"] / _MB,
    }


def _greenlets(worker: WorkerProcess) -> int:
    """As many as the stacks have that the worker logs on SIGUSR1, which it cuts off somewhere."""
    before = worker.log_path.stat().st_size
    worker.signal(signal.SIGUSR1)
    seen = ""

    def answer() -> str:
        nonlocal seen
        last, seen = seen, _logged(worker.log_path, before)
        # They are logged at once, so that nothing more comes when nothing has.
        return seen if _ONE in seen and seen.count(_STACK) == last.count(_STACK) else ""

    text = wait.until(answer, _ANSWER_S, "the worker's stacks", worker.tail)
    cut_off = sum(map(int, re.findall(r"… and (\d+) lines more", text)))
    return text.count(_ONE) + cut_off // _LINES_OF_ONE


def _logged(log: Path, since: int) -> str:
    with log.open(errors="replace") as file:
        file.seek(since)
        return file.read()


def told(looks: Sequence[Look], changes: Sequence[Change]) -> list[str]:
    """The looks, and what became of each figure, in Markdown that can be read as it is."""
    names = [change.name for change in changes]
    shown = looks[:: max(1, len(looks) // 10)]
    rows = [[f"{look.at_s:,.0f} s", *(number(look.figures[name]) for name in names)] for look in shown]
    lines = table(["after", *names], rows)
    verdicts = [
        [change.name, number(change.early), number(change.late), "**grows**" if change.growth else "no"]
        for change in changes
    ]
    return [*lines, "", *table(["figure", "early", "late", "grows"], verdicts)]
