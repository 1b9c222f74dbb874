"""Task code on the bench: one worker that runs it, its tasks, and what is seen of them.

Unlike a scenario, which holds for any worker, this reads the log of this project's worker: it is the task
code that is judged here.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from harness import wait
from harness.certify.hang import Hangs, TaskWatch
from harness.queue import asynq
from harness.sandbox import patience, tasks
from harness.sandbox.brisk import ALONE, BRISK
from harness.sandbox.runtimes.protocol import Worker
from harness.sandbox.stack import Stack
from harness.sandbox.task_process import pid_in
from harness.server.config import QueueConfig

T = TypeVar("T")

#: How long a task process that is asked to end may take here.
GRACE_S = 5
#: Beyond what a task took at first: a process that was replaced has to start again.
PATIENCE_S = 60.0
#: What stands in the worker's output where a secret stood.
MASK = "********"
#: Two tasks at once, where two are sent.
_SETTINGS = {
    **BRISK,
    "RUNQY_LOG_FORMAT": "json",
    # Where the end of every task is told, however many there are: see Bench.ended.
    "RUNQY_LOG_LEVEL": "debug",
    "RUNQY_CONCURRENCY": "2",
    "RUNQY_PROCESS_STOP_GRACE": f"{GRACE_S}s",
    # A package index may be far away, and its trouble short.
    "RUNQY_BOOTSTRAP_RETRY_DELAY": "1s",
    # Every check may cost some, and none shall be judged by what others did.
    "RUNQY_RECOVERY_MAX_RESTARTS": "1000",
    "RUNQY_RECOVERY_MAX_DELAY": "1s",
}
#: The longest a good payload may take unless its author says otherwise.
LONGEST_S = 20.0
#: So long a process that starts may do nothing at all.
IDLE_S = 15.0
_ENDED = frozenset({"completed", "archived"})
#: The lines of its log that say so, and seconds until they are there.
_ENDS = frozenset({"task.completed", "task.archived", "task.undecodable", "task.too_large"})
_LOGGED_S = 20.0


@dataclass(frozen=True)
class Subject:
    """What is judged: a queue with its code, and payloads its author says are good ones.

    ``given`` says whether the author named payloads at all, ``longest_s`` how long the slowest may take.
    ``names_in_code`` are those vault entries whose names stand in the code; None where the code is not at
    hand.
    """

    queue: QueueConfig
    payloads: Sequence[Any]
    given: bool
    hanging: Any = None
    names_in_code: frozenset[str] | None = None
    longest_s: float = LONGEST_S

    @property
    def one_shot(self) -> bool:
        """A process per task."""
        return self.queue.mode == "one_shot"

    @property
    def vault(self) -> Mapping[str, str]:
        """All entries."""
        return {name: value for entries in self.queue.vaults.values() for name, value in entries.items()}


@dataclass
class Bench:
    """``stack`` is entered already. ``took_s`` is how long the author's slowest payload took.

    ``ended_s`` is when the tasks that were waited for last had ended, by the monotonic clock.
    """

    stack: Stack
    subject: Subject
    took_s: float = 0.0
    ended_s: float = 0.0
    sent: list[str] = field(default_factory=list)

    @property
    def queue(self) -> str:
        """The full name of the queue that tasks are sent to."""
        return next(iter(self.subject.queue.priorities()))

    @property
    def worker(self) -> Worker:
        """The one there is."""
        return self.stack.workers[-1]

    @property
    def patience_s(self) -> float:
        """What a task may take in the worst case: a start, and the work."""
        return PATIENCE_S + self.subject.queue.startup_timeout_secs + 5 * self.took_s

    def start_worker(self) -> None:
        """Serve the queue and start the worker; the result is in its log."""
        self.stack.serve(self.subject.queue)
        # With nothing inherited, code that forgot a requirement is found out. Images bring what they inherit.
        alone = {**ALONE, **_installer(os.environ)} if self.stack.runtime.name == "process" else {}
        self.stack.worker(self.subject.queue.name, _SETTINGS | alone)

    # Tasks --------------------------------------------------------------------------------------------

    def send(self, *payloads: Any, timeout_s: int = 0) -> list[str]:
        """Enqueue payloads of any kind, bytes as they are; returns the ids. 0 is no time limit."""
        # One retry is enough to see what a second attempt does.
        new = [asynq.NewTask(payload, retry=1, timeout_s=timeout_s) for payload in payloads]
        ids = asynq.seed_pending(self.stack.db, self.queue, *new)
        self.sent += ids
        return ids

    def ended(self, *ids: str) -> list[asynq.StoredTask]:
        """Wait until these are completed or archived, and a while for the worker to say so in its log.

        Raises :class:`~.hang.Hangs` where one does not end.
        """
        # In one_shot mode each attempt is a start as well.
        start_s = self.subject.queue.startup_timeout_secs if self.subject.one_shot else 0
        watch = TaskWatch(max(self.subject.longest_s, 5 * self.took_s) + start_s)

        def all_ended() -> bool:
            places = tasks.places(self.stack.db, self.queue, ids)
            left = sum(place not in _ENDED for place in places)
            watch.look(time.monotonic(), left, at_work="active" in places and bool(self.pid()))
            return not left

        what = "the task to end" if len(ids) == 1 else f"{len(ids)} tasks to end"
        self.until(all_ended, what, fatal=(Hangs,))
        self.ended_s = time.monotonic()
        # The worker writes its log beside its work: what Redis knows may not be there so far. It is in order.
        # One that does not tell the end of each task is judged by what it has said by then.
        with contextlib.suppress(wait.TimedOut):
            self.until(lambda: self._logged_ends() >= set(ids), "their ends to be logged", _LOGGED_S)
        return [self.task(task_id) for task_id in ids]

    def _logged_ends(self) -> set[str]:
        events = self.worker.log_events()
        return {str(event.get("task_id")) for event in events if event.get("event") in _ENDS}

    def forget_unfinished(self) -> None:
        """Take what hangs out of the way of the checks to come: its tasks, and its process."""
        for task_id in self.sent:
            if not self.places(task_id) <= _ENDED:
                asynq.delete(self.stack.db, self.queue, task_id)
        if pid := self.pid():
            mark = self.mark()
            self.worker.signal_child(pid, signal.SIGKILL)
            self.until(lambda: self.events("process.exited", mark), "the process that hangs to end")

    def places(self, *ids: str) -> set[str]:
        """Where they are."""
        return set(tasks.places(self.stack.db, self.queue, ids))

    def task(self, task_id: str) -> asynq.StoredTask:
        """A task's hash."""
        return tasks.stored(self.stack.db, self.queue, task_id)

    def begin_one(self) -> tuple[str, bool]:
        """Send a task and return when a process works on it: its id, and whether it really does.

        A task that is quicker than we can look is held by freezing its process beforehand; it is then sent to
        the process and not begun.
        """
        if self.took_s >= 1 or self.subject.one_shot:
            (task_id,) = self.send(self.subject.payloads[0])
            self.until(lambda: self.places(task_id) != {"pending"}, "the task to begin", fast=True)
            if self.subject.one_shot:
                self.until(lambda: self.pid() or self.places(task_id) != {"active"}, "its process", fast=True)
            time.sleep(min(self.took_s / 3, 5))
            return task_id, True
        self.worker.signal_child(self.pid(), signal.SIGSTOP)
        (task_id,) = self.send(self.subject.payloads[0])
        self.until(lambda: self.places(task_id) == {"active"}, "the task to be sent")
        return task_id, False

    # The process --------------------------------------------------------------------------------------

    def pid(self) -> int:
        """Of the task process that works, or is ready to; 0 where there is none."""
        if self.subject.one_shot:
            # Its log is late; but then the worker has no other processes, and it came before its own.
            return min(self.worker.children(), default=0)
        return pid_in(self.worker.log_events())

    def settled(self) -> int:
        """Wait until a process is ready; returns its pid, 0 in one_shot mode."""
        if self.subject.one_shot:
            return 0
        return self.until(self.pid, "a task process to be ready")

    def usage(self, pid: int) -> tuple[int, int] | None:
        """Resident bytes of it and all it started, and its open descriptors.

        None where we cannot look (another machine's, gone).
        """
        if self.stack.runtime.name != "process" or not pid:
            return None
        try:
            process = psutil.Process(pid)
            resident = sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
            return resident, len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except (psutil.Error, OSError):
            return None

    def busy(self) -> object:
        """What all that the worker started has done so far; None where we cannot look."""
        if self.stack.runtime.name != "process":
            return None
        done = []
        for pid in self.worker.children():
            with contextlib.suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                done.append((pid, process.cpu_times()[:2], process.io_counters()[:4]))
        return done or None

    # Looking ------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """Now, for :meth:`events`."""
        return len(self.worker.log_events())

    def events(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        """Events of the worker's log."""
        return [event for event in self.worker.log_events()[since:] if event.get("event") == name]

    def last_words(self) -> str:
        """What the last warning or error of the log says; else its last line that is no event."""
        for event in reversed(self.worker.log_events()):
            if event.get("level") in {"error", "warning"}:
                told = [str(event[name]) for name in ("error", "reason", "line") if event.get(name)]
                if told:
                    return told[0]
        lines = [line for line in self.worker.tail().strip().splitlines() if not line.startswith("{")]
        return lines[-1] if lines else "the worker did not say why"

    def output(self, source: str, since: int = 0) -> list[str]:
        """Lines a task process printed that are no part of the protocol."""
        return [event["text"] for event in self.events("process.output", since) if event["src"] == source]

    def until(
        self,
        check: Callable[[], T],
        what: str,
        timeout_s: float = 0,
        *,
        fast: bool = False,
        fatal: tuple[type[Exception], ...] = (),
    ) -> T:
        """Wait for something true; not longer than the worker lives (:class:`.WorkerEnded`)."""
        pause_s = 0.01 if fast else self.stack.runtime.look_every_s
        longest_s = timeout_s or self.patience_s
        return patience.until(self.worker, check, longest_s, what, fatal=fatal, longest_pause_s=pause_s)


def _installer(env: Mapping[str, str]) -> Mapping[str, str]:
    """Packages are installed by what production has for it: pip, as of a worker that nothing is set for."""
    if "RUNQY_INSTALLER" in env:
        return {"RUNQY_INSTALLER": env["RUNQY_INSTALLER"]}
    inherits_nothing = env.get("RUNQY_USE_SYSTEM_SITE_PACKAGES", "").lower() in {"false", "0", "no", "off"}
    return {} if inherits_nothing else {"RUNQY_INSTALLER": "pip"}
