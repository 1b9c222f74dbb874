"""The workers of a run: each place is filled again whenever its worker ended, as an orchestrator would."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import wait
from harness.evidence.history import Life
from harness.evidence.timeline import Timeline
from harness.faults import processes
from harness.sandbox.runtimes.process import WorkerProcess

#: Seconds until a place is filled again, and until processes of a worker that ended have to be gone.
REFILL_S = 0.3
GONE_S = 3.0
#: Seconds beyond its budget that a worker gets before it is killed: long enough to say by how much it failed.
OVERTIME_S = 10.0

#: Makes a worker of this name with these variables, in this folder.
Make = Callable[[str, Mapping[str, str], Path], WorkerProcess]


@dataclass
class _Term:
    """One worker in its place."""

    worker: WorkerProcess
    began_s: float
    asked_s: float | None = None
    killed: bool = False


class Place:
    """Number ``number``; its workers are ``{number}.1``, ``{number}.2`` … and share ``folder``."""

    def __init__(self, number: int, make: Make, env: Mapping[str, str], folder: Path, told: Timeline) -> None:
        self.number = number
        self.folder = folder
        self.lives: list[Life] = []
        self.restarts = 0
        self.logs: list[WorkerProcess] = []
        self._make = make
        self._env = env
        self._timeline = told
        self._term: _Term | None = None
        self._ended: list[tuple[float, WorkerProcess, Life]] = []
        self._fill_at_s = 0.0
        self._closed = False

    @property
    def worker(self) -> WorkerProcess | None:
        """Who is in it now."""
        return self._term.worker if self._term and self._term.worker.exit_status is None else None

    def ask_to_end(self) -> None:
        """Ask who is in it to end (SIGTERM); once."""
        if self._term and self.worker and self._term.asked_s is None:
            self._term.asked_s = time.time()
            self._term.worker.terminate()

    def kill(self) -> None:
        """End who is in it, and it alone: its processes have to go by themselves."""
        if self._term and self.worker:
            self._term.killed = True
            processes.kill(self._term.worker.pid)

    def tick(self) -> None:
        """See whether the worker ended, or one is to be started."""
        now_s = time.time()
        if self._term and self._term.worker.exit_status is not None:
            self._record_end(self._term, now_s)
            self._term, self._fill_at_s = None, now_s + REFILL_S
        if self._term is None and not self._closed and now_s >= self._fill_at_s:
            self._fill(now_s)
        for due in [due for due in self._ended if now_s >= due[0]]:
            self._look_back(due)

    def close(self, drain_s: float) -> None:
        """Ask for the end, see it, and see that nothing is left; no worker is started any more."""
        self._closed = True
        self.ask_to_end()
        if self._term:
            with contextlib.suppress(wait.TimedOut):
                self._term.worker.wait(drain_s + OVERTIME_S)
            if self._term.worker.exit_status is None:
                self._term.worker.kill()
                self._term.worker.wait(OVERTIME_S)
            self._record_end(self._term, time.time())
            self._term = None

    def settle_accounts(self) -> None:
        """Look for what was left behind by those who ended lately, and end that."""
        for due in list(self._ended):
            with contextlib.suppress(wait.TimedOut):
                wait.until(lambda due=due: not due[1].children(), GONE_S, "its processes to go")  # type: ignore[misc]
            self._look_back(due)

    def _fill(self, now_s: float) -> None:
        self.restarts += bool(self.logs)
        name = f"{self.number}.{len(self.logs) + 1}"
        names = {"RUNQY_INSTANCE_ID": name, "CHAOS_WORKER": name}
        worker = self._make(name, {**self._env, **names}, self.folder).start()
        self.logs.append(worker)
        self._term = _Term(worker, now_s)
        self._timeline.record(name, "worker.started", pid=worker.pid)

    def _record_end(self, term: _Term, now_s: float) -> None:
        status = term.worker.exit_status
        assert status is not None
        life = Life(term.worker.name, term.began_s, now_s, status, term.asked_s, term.killed)
        self.lives.append(life)
        self._ended.append((now_s + GONE_S, term.worker, life))
        self._timeline.record(term.worker.name, "worker.exited", status=status)

    def _look_back(self, due: tuple[float, WorkerProcess, Life]) -> None:
        self._ended.remove(due)
        _, worker, life = due
        left: Sequence[int] = worker.children()
        if left:
            self.lives[self.lives.index(life)] = Life(**{**vars(life), "left": tuple(left)})
        worker.close()
