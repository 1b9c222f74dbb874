"""Task code on the bench: one worker that runs it, its tasks, and what is seen of them.

Unlike a scenario, which holds for any worker, this reads the log of this project's worker: it is the task
code that is judged here.
"""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from harness import asynq, wait
from harness.runtimes.protocol import Worker
from harness.server.config import QueueConfig
from harness.stack import Stack

T = TypeVar("T")

#: How long a task process that is asked to end may take here.
GRACE_S = 5
#: Beyond what a task took at first: a process that was replaced has to start again.
PATIENCE_S = 60.0
#: What stands in the worker's output where a secret stood.
MASK = "********"
#: At a pace somebody can wait for; two tasks at once, where two are sent.
_SETTINGS = {
    "RUNQY_LOG_FORMAT": "json",
    "RUNQY_LOG_LEVEL": "info",
    "RUNQY_CONCURRENCY": "2",
    "RUNQY_PROCESS_STOP_GRACE": f"{GRACE_S}s",
    "RUNQY_RETRY_BASE_DELAY": "100ms",
    "RUNQY_BOOTSTRAP_RETRY_DELAY": "1s",
    "RUNQY_RECOVERY_INITIAL_DELAY": "100ms",
    # Every check may cost some, and none shall be judged by what others did.
    "RUNQY_RECOVERY_MAX_RESTARTS": "1000",
}


class WorkerEnded(Exception):
    """The worker ended although nobody asked it to; the message has how its log ends."""


@dataclass(frozen=True)
class Subject:
    """What is judged: a queue with its code, and payloads its author says are good ones.

    ``given`` says whether the author named payloads at all. ``names_in_code`` are those vault entries whose
    names stand in the code; None where the code is not at hand.
    """

    queue: QueueConfig
    payloads: Sequence[Any]
    given: bool
    hanging: Any = None
    names_in_code: frozenset[str] | None = None

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
    """``stack`` is entered already. ``took_s`` is how long the author's slowest payload took."""

    stack: Stack
    subject: Subject
    took_s: float = 0.0
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
        """Serve the queue and start the worker; what comes of that is in its log."""
        self.stack.serve(self.subject.queue)
        # With nothing inherited, code that forgot a requirement is found out. Images bring what they inherit.
        alone = {"RUNQY_USE_SYSTEM_SITE_PACKAGES": "false"} if self.stack.runtime.name == "process" else {}
        self.stack.worker(self.subject.queue.name, _SETTINGS | alone)

    # Tasks --------------------------------------------------------------------------------------------

    def send(self, *payloads: Any, timeout_s: int = 0) -> list[str]:
        """Enqueue payloads of any kind, bytes as they are; returns the ids. 0 is no time limit."""
        # One retry is enough to see what a second attempt does.
        tasks = [asynq.NewTask(payload, retry=1, timeout_s=timeout_s) for payload in payloads]
        ids = asynq.seed_pending(self.stack.db, self.queue, *tasks)
        self.sent += ids
        return ids

    def ended(self, *ids: str) -> list[asynq.StoredTask]:
        """Wait until these are completed or archived."""
        self.until(lambda: self.places(*ids) <= {"completed", "archived"}, f"{len(ids)} tasks to end")
        return [self.task(task_id) for task_id in ids]

    def places(self, *ids: str) -> set[str]:
        """Where they are."""
        return {asynq.where_is(self.stack.db, self.queue, task_id) for task_id in ids}

    def task(self, task_id: str) -> asynq.StoredTask:
        """A task's hash."""
        task = asynq.get_task(self.stack.db, self.queue, task_id)
        if task is None:
            raise AssertionError(f"task {task_id} has no hash")
        return task

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
        state = {"child.ready": True, "child.exited": False, "child.stopping": False}
        last = next((e for e in reversed(self.worker.log_events()) if e.get("event") in state), None)
        return int(last["pid"]) if last and state[last["event"]] else 0

    def settled(self) -> int:
        """Wait until a process is ready; returns its pid, 0 in one_shot mode."""
        if self.subject.one_shot:
            return 0
        return self.until(self.pid, "a task process to be ready")

    def usage(self, pid: int) -> tuple[int, int] | None:
        """Resident bytes and open descriptors; None where we cannot look (another machine's, gone)."""
        if self.stack.runtime.name != "process" or not pid:
            return None
        try:
            return psutil.Process(pid).memory_info().rss, len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except (psutil.Error, OSError):
            return None

    # Looking ------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """Now, for :meth:`events`."""
        return len(self.worker.log_events())

    def events(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        """Events of the worker's log."""
        return [event for event in self.worker.log_events()[since:] if event.get("event") == name]

    def last_words(self) -> str:
        """The last warning or error in the log, in words; without one its last line."""
        for event in reversed(self.worker.log_events()):
            if event.get("level") in {"error", "warning"}:
                told = (event.get(name) for name in ("error", "reason", "line", "event"))
                return str(next(text for text in told if text))
        lines = self.worker.tail().strip().splitlines()
        return lines[-1] if lines else "its log is empty"

    def output(self, source: str, since: int = 0) -> list[str]:
        """Lines a task process printed that are no part of the protocol."""
        return [event["text"] for event in self.events("child.output", since) if event["src"] == source]

    def until(self, check: Callable[[], T], what: str, timeout_s: float = 0, *, fast: bool = False) -> T:
        """Wait for something true; not longer than the worker lives (:class:`WorkerEnded`)."""

        def look() -> tuple[T] | WorkerEnded | None:
            value = check()
            if value:
                return (value,)
            status = self.worker.exit_status
            ended = f"the worker ended with exit status {status} while we waited for {what}"
            return None if status is None else WorkerEnded(f"{ended}\n{self.worker.tail()}")

        pause_s = 0.01 if fast else self.stack.runtime.look_every_s
        found = wait.until(look, timeout_s or self.patience_s, what, longest_pause_s=pause_s)
        if isinstance(found, WorkerEnded):
            raise found
        assert found is not None
        return found[0]
