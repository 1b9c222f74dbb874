"""``runqy-harness bench --sizes``: one worker, payloads of all sizes, and few and many sub-queues."""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from harness.bench.rig import page
from harness.bench.rig.ours import PARENT
from harness.bench.rig.room import Room, room
from harness.bench.rig.tables import number, table
from harness.bench.sizes.plan import SizesPlan
from harness.faults.latency import Latency
from harness.faults.proxy import FaultProxy
from harness.output.narrator import Narrator
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox import patience
from harness.sandbox.brisk import ALONE
from harness.sandbox.repo import make_repo
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.stack import WORKER_COMMAND
from harness.sandbox.tools import search_path
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer

#: Task code that makes nothing of what it passes on: it is the worker that is measured.
ECHO = """
import sys
print('{"status": "ready"}', flush=True)
for line in sys.stdin.buffer:
    task_id = line[len(b'{"task_id": "'):].partition(b'"')[0]
    payload = line.partition(b'"payload": ')[2].rpartition(b', "retry_count"')[0]
    sys.stdout.buffer.write(b'{"task_id": "%b", "result": %b}\\n' % (task_id, payload))
    sys.stdout.buffer.flush()
"""
#: Seconds for one measurement.
PATIENCE_S = 300.0
_MB = 1_000_000


@dataclass(frozen=True)
class SizesOptions:
    """What to measure, and the command line that says so."""

    plan: SizesPlan
    command: str
    worker_command: Sequence[str] = WORKER_COMMAND


@dataclass(frozen=True)
class Measured:
    """``tasks`` in ``seconds``; ``peak_mb`` is the worker's highest memory (RSS), ``idle_mb`` that before."""

    tasks: int
    seconds: float
    idle_mb: float
    peak_mb: float

    @property
    def tasks_per_s(self) -> float:
        """From the first result to the last, which stands for all but the first task."""
        return (self.tasks - 1) / self.seconds


class Sizes:
    """One run of ``options`` in ``place``."""

    def __init__(self, options: SizesOptions, place: Room, narrator: Narrator) -> None:
        self._options = options
        self._place = place
        self._narrator = narrator
        self._db = place.server.client()
        self._repo = make_repo(place.folder / "task.git", {"main.py": ECHO})
        self._number = 0

    def payloads(self) -> dict[int, Measured]:
        """By bytes."""
        plan, found = self._options.plan, {}
        for size in plan.payloads:
            count = max(3, min(plan.most_tasks, plan.bytes_in_all // size))
            found[size] = self._measure(["default"], count, size, 0)
            self._narrator.proved(f"{size:,} bytes: {found[size].tasks_per_s:,.1f} tasks/s")
        return found

    def sub_queues(self) -> dict[tuple[int, int], Measured]:
        """By their number and the round trip in ms."""
        plan, found = self._options.plan, {}
        for trip_ms in plan.round_trips_ms:
            for count in plan.sub_queues:
                names = [f"q{n}" for n in range(count)]
                found[count, trip_ms] = self._measure(names, plan.tasks, 100, trip_ms)
                rate = found[count, trip_ms].tasks_per_s
                self._narrator.proved(f"{count} sub-queues at {trip_ms} ms: {rate:,.0f} tasks/s")
        return found

    def _measure(self, names: Sequence[str], count: int, size: int, trip_ms: int) -> Measured:
        self._db.flushall()
        self._number += 1
        server = self._place.server
        with contextlib.ExitStack() as stack:
            link = stack.enter_context(FaultProxy((server.host, server.port)))
            if trip_ms:
                link.set(Latency(trip_ms / 2000))
            queue = QueueConfig(name=PARENT, git_url=self._repo.url, sub_queues=dict.fromkeys(names, 1))
            url = link.url(server.url) if trip_ms else server.url
            runqy = stack.enter_context(FakeServer(server.url, [queue], redis_url_for_workers=url))
            queues = [f"{PARENT}.{name}" for name in names]
            self._seed(queues, count, size)
            worker = self._worker(runqy)
            stack.callback(worker.close)
            worker.start()
            patience.until(worker, lambda: "worker.ready" in worker.log_text(), PATIENCE_S, "a ready worker")
            idle_mb = _memory_mb(worker, "VmRSS")
            self._release(queues)
            began_s = self._done(worker, queues, 1)
            seconds = self._done(worker, queues, count) - began_s
            return Measured(count, max(seconds, 1e-6), idle_mb, _memory_mb(worker, "VmHWM"))

    def _worker(self, runqy: FakeServer) -> WorkerProcess:
        settings = {
            "RUNQY_SERVER_URL": runqy.url,
            "RUNQY_API_KEY": runqy.worker_key,
            "RUNQY_QUEUES": PARENT,
            "RUNQY_CONCURRENCY": str(self._options.plan.concurrency),
            "RUNQY_DEPLOYMENT_DIR": str(self._place.folder / "deployment"),
            "RUNQY_MAX_RESULT": "512MiB",
            **ALONE,
            "PATH": search_path(),
        }
        name = f"sizes-{self._number}"
        return WorkerProcess(self._options.worker_command, settings, self._place.folder / "run", name)

    def _release(self, queues: Sequence[str]) -> None:
        """Let all tasks be pending at one instant."""
        with self._db.pipeline(transaction=True) as pipe:
            for queue in queues:
                pipe.rename(asynq.key(queue, "bench:aside"), asynq.key(queue, "pending"))
            pipe.execute()

    def _seed(self, queues: Sequence[str], count: int, size: int) -> None:
        """Put the tasks there, but for their lists."""
        payload = b'"%b"' % (b"x" * (size - 2))
        # As few at a time as Redis takes in one go.
        at_once = max(1, min(500, 20 * _MB // size))
        for first in range(0, count, at_once):
            numbers = range(first, min(first + at_once, count))
            for position, queue in enumerate(queues):
                mine = [NewTask(payload=payload) for n in numbers if n % len(queues) == position]
                if mine:
                    asynq.seed_pending(self._db, queue, *mine)
        for queue in queues:
            self._db.rename(asynq.key(queue, "pending"), asynq.key(queue, "bench:aside"))

    def _done(self, worker: WorkerProcess, queues: Sequence[str], count: int) -> float:
        """When so many results were there (monotonic seconds)."""

        def reached() -> bool:
            with self._db.pipeline(transaction=False) as pipe:
                for queue in queues:
                    pipe.zcard(asynq.key(queue, "completed"))
                replies: list[Any] = pipe.execute()
            return int(sum(replies)) >= count

        patience.until(worker, reached, PATIENCE_S, f"{count} results", longest_pause_s=0.01)
        return time.monotonic()

    def close(self) -> None:
        """Drop the connection."""
        self._db.close()


def run(out: TextIO, options: SizesOptions, json_to: Path | None, write_to: Path | None) -> int:
    """Measure, print the section, and write it into the page and the figures into the file that are given."""
    narrator = Narrator(out)
    narrator.title("runqy-harness bench --sizes: payloads of all sizes, few and many sub-queues")
    with room() as place, contextlib.closing(Sizes(options, place, narrator)) as sizes:
        narrator.chapter("Payloads")
        payloads = sizes.payloads()
        narrator.chapter("Sub-queues")
        sub_queues = sizes.sub_queues()
    date = datetime.now(UTC).date().isoformat()
    section = told(options, date, payloads, sub_queues)
    out.write(f"\n{section}")
    if json_to is not None:
        document = {
            "date": date,
            "machine": dict(place.machine),
            "payloads": [{"bytes": size, **asdict(each)} for size, each in payloads.items()],
            "sub_queues": [
                {"sub_queues": count, "round_trip_ms": trip_ms, **asdict(each)}
                for (count, trip_ms), each in sub_queues.items()
            ],
        }
        json_to.write_text(json.dumps(document, indent=1) + "\n")
    if write_to is not None:
        page.put(write_to, section, page.SIZES)
    return 0


def told(
    options: SizesOptions,
    date: str,
    payloads: dict[int, Measured],
    sub_queues: dict[tuple[int, int], Measured],
) -> str:
    """The section, in Markdown that can be read as it is."""
    sizes = [
        [
            f"{size:,}",
            str(each.tasks),
            number(each.tasks_per_s),
            number(each.tasks_per_s * size / _MB),
            number(each.idle_mb),
            number(each.peak_mb),
            number((each.peak_mb - each.idle_mb) * _MB / size),
        ]
        for size, each in payloads.items()
    ]
    queues = [
        [str(count), *(number(sub_queues[count, trip].tasks_per_s) for trip in options.plan.round_trips_ms)]
        for count in options.plan.sub_queues
    ]
    trips = [f"tasks/s at {trip} ms" for trip in options.plan.round_trips_ms]
    heads = ["payload, bytes", "tasks", "tasks/s", "MB/s", "idle, MB", "peak, MB", "(peak - idle) ÷ payload"]
    lines = [
        page.SIZES,
        "",
        f"Of {date}, by `{options.command}`: one worker with {options.plan.concurrency} slots. Task code",
        "sends each payload back as its result; memory is the worker's, which holds a payload for each slot",
        "and those that it has fetched for the next ones.",
        "",
        *table(heads, sizes),
        "",
        "Tasks of 100 bytes that go round the sub-queues (of one worker: 256 at most), by the round trip:",
        "",
        *table(["sub-queues", *trips], queues),
        "",
    ]
    return "\n".join(lines)


def _memory_mb(worker: WorkerProcess, field: str) -> float:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(kilobytes) * 1024 / _MB
