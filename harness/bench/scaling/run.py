"""``runqy-harness bench --scale``: several of our workers on one queue."""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import psutil

from harness.bench.rig import crowd, page
from harness.bench.rig.common import WARM_RESULTS
from harness.bench.rig.figures import OURS, Figures
from harness.bench.rig.observer import Observer, cpu_s
from harness.bench.rig.ours import Ours
from harness.bench.rig.room import room
from harness.bench.rig.stats import Window
from harness.bench.scaling import report as scale_report
from harness.bench.scaling import settled
from harness.bench.scaling.plan import ScalePlan
from harness.output.narrator import Narrator
from harness.sandbox.redis import RedisServer
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.stack import WORKER_COMMAND
from harness.wait import TimedOut


@dataclass(frozen=True)
class ScalingOptions:
    """What to measure, and the command line that asked for it."""

    plan: ScalePlan
    command: str
    worker_command: Sequence[str] = WORKER_COMMAND


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU used so far, by whom; ``machine_s`` is everybody's on this machine, ours included."""

    redis_s: float
    workers_s: float
    task_processes_s: float
    machine_s: float


class Scale:
    """One run: what it measured so far, and what it could not measure."""

    def __init__(
        self, options: ScalingOptions, narrator: Narrator, server: RedisServer, folder: Path
    ) -> None:
        self.figures = Figures()
        self.failures: list[str] = []
        self._plan = options.plan
        self._narrator = narrator
        self._db = server.client()
        self._observer = Observer(self._db, server)
        self._ours = Ours(server, folder, options.worker_command)

    def run(self) -> None:
        """Measure everything; what fails is told and left out."""
        with contextlib.closing(self._db), self._ours:
            for repetition in range(self._plan.repetitions):
                self._narrator.chapter(f"Many workers, {repetition + 1} of {self._plan.repetitions}")
                for workers in self._plan.workers:
                    what = f"{workers} worker{'s' if workers > 1 else ''}"
                    self._narrator.waiting(what)
                    try:
                        self._narrator.proved(f"{what}: {self._measure(workers)}")
                    except (TimedOut, ValueError) as exc:
                        self.failures.append(f"{what}: {str(exc).splitlines()[0]}")
                        self._narrator.detail(f"✗ {what}: {exc}")

    def _measure(self, workers: int) -> str:
        count = workers * self._plan.tasks_each
        self._observer.empty()
        with crowd.idle_workers(self._ours, self._db, workers, self._plan.concurrency) as processes:
            self._ours.enqueue_at_once(count)
            first = self._observer.reached(self._ours, min(WARM_RESULTS * workers, count // 2), processes[0])
            cpu_before = self._cpu(processes)
            last = self._observer.reached(self._ours, count, processes[0])
            cpu_after = self._cpu(processes)
            ended = [process.name for process in processes if process.exit_status is not None]
        if ended:
            raise ValueError(f"ended before its time: {', '.join(ended)}")
        taken = settled.times_taken(self._db, count)
        window = Window(first, last)
        self._add(workers, window, cpu_before, cpu_after)
        self.figures.add(OURS, "takes/task", taken / count, at=workers)
        return f"{window.tasks_per_s:,.0f} tasks/s; all {count:,} settled once"

    def _cpu(self, processes: Sequence[WorkerProcess]) -> Cpu:
        children = tuple(pid for process in processes for pid in process.children())
        everybody = psutil.cpu_times()
        return Cpu(
            redis_s=cpu_s((self._observer.redis_pid,)),
            workers_s=cpu_s(tuple(process.pid for process in processes)),
            task_processes_s=cpu_s(children),
            machine_s=sum(everybody) - everybody.idle - getattr(everybody, "iowait", 0.0),
        )

    def _add(self, workers: int, window: Window, before: Cpu, after: Cpu) -> None:
        took_s = window.last.at_s - window.first.at_s
        values = {
            "tasks": window.last.done,
            "tasks/s": window.tasks_per_s,
            "commands/task": window.commands_per_task,
            "round trips/task": window.requests_per_task,
            "CPU of Redis, %": 100 * (after.redis_s - before.redis_s) / took_s,
            "CPU of workers, %": 100 * (after.workers_s - before.workers_s) / took_s,
            "CPU of task processes, %": 100 * (after.task_processes_s - before.task_processes_s) / took_s,
            "CPU of the machine, %": 100 * (after.machine_s - before.machine_s) / took_s,
        }
        for what, value in values.items():
            self.figures.add(OURS, what, value, at=workers)


def run(out: TextIO, options: ScalingOptions, json_to: Path | None, write_to: Path | None) -> int:
    """Measure, print the section, and write it into the page and the figures into the file that are given.

    Returns 1 where something could not be measured or a task was not settled exactly once. Raises
    :class:`~harness.failure.CommandFailed` where nothing can be measured.
    """
    began_s = time.monotonic()
    narrator = Narrator(out)
    narrator.title("runqy-harness bench --scale: several of our workers on one queue")
    with room() as place:
        scale = Scale(options, narrator, place.server, place.folder / "ours")
        scale.run()
    result = scale_report.ScaleRun(
        date=datetime.now(UTC).date().isoformat(),
        command=options.command,
        plan=options.plan,
        figures=scale.figures,
        machine=place.machine,
        cores=os.cpu_count() or 1,
        failures=scale.failures,
        took_s=time.monotonic() - began_s,
    )
    section = scale_report.section(result)
    out.write(f"\n{section}")
    if json_to is not None:
        json_to.parent.mkdir(parents=True, exist_ok=True)
        json_to.write_text(json.dumps(_as_json(result), indent=1, ensure_ascii=False) + "\n")
    if write_to is not None:
        page.put(write_to, section)
    return 1 if scale.failures else 0


def _as_json(result: scale_report.ScaleRun) -> dict[str, object]:
    return {**asdict(result), "figures": result.figures.as_json()}
