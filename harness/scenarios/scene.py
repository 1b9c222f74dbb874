"""What a scenario is made with: a stack, task code, workers, tasks, and how to look at their ends."""

import contextlib
import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any, TypeVar

import redis

from harness import wait
from harness.evidence.diary import Diary
from harness.evidence.timeline import Timeline
from harness.queue import asynq
from harness.queue.strict import reader
from harness.sandbox import patience, tasks
from harness.sandbox.brisk import ALONE, BRISK
from harness.sandbox.handlers import DIARY, handler_files
from harness.sandbox.repo import GitRepo
from harness.sandbox.runtimes.protocol import Worker
from harness.sandbox.sdk import sdk_files
from harness.sandbox.stack import Stack
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation
from harness.server.config import QueueConfig

T = TypeVar("T")

#: The parent queue of a scenario that names none, and its one sub-queue.
PARENT = "inference"
QUEUE = "inference.default"
#: Several times within the shortest task, the shortest retry delay and a step of recovery (50 ms each).
SABOTAGE_EVERY_S = 0.01
#: A wait may last so many times as long as written: that costs nothing where what is awaited comes about.
PATIENCE = 5


class Scene:
    """One scenario's world, on ``stack``. ``mutation`` is the defect its workers have; None is none."""

    def __init__(self, stack: Stack, timeline: Timeline, mutation: Mutation | None = None) -> None:
        self.stack = stack
        self.timeline = timeline
        self.server = stack.server
        self.redis = stack.redis
        self.db: redis.Redis = stack.db
        self.client = stack.client()
        #: Whether the server may have been sent what it must not be sent.
        self.complaints_expected = False
        #: Ids of the tasks sent by :meth:`send`, and their queues.
        self.sent: dict[str, str] = {}
        self._mutation = mutation or Mutation("none", "")
        #: Parent queues whose completed tasks leave nothing but a count.
        self._without_results: set[str] = set()

    # Arrange ------------------------------------------------------------------------------------------

    def handler(self, handler: str | Mapping[str, str], parent: str = PARENT, **queue: Any) -> GitRepo:
        """Serve a parent queue with a handler of the harness, by name, or with these files (path → text).

        ``queue`` are further fields of :class:`~harness.server.config.QueueConfig`. The SDK lies beside the
        code that imports it, so that nothing has to be installed.
        """
        files = dict(handler_files(handler) if isinstance(handler, str) else handler)
        if any("runqy_python" in text for text in files.values()):
            files = {**sdk_files(), **files}
        if self._mutation.process:
            between = resources.files("harness.mutants.processes").joinpath(f"{self._mutation.process}.py")
            files["mutant.py"] = between.read_text()
            queue["startup_cmd"] = f"python mutant.py {queue.get('startup_cmd', 'python main.py')}"
        if not queue.get("redis_storage", True):
            self._without_results.add(parent)
        repo = self.stack.repo(files, parent, queue.get("branch", "main"))
        self.serve(QueueConfig(name=parent, git_url=self.server.export(repo.folder), **queue))
        return repo

    def serve(self, queue: QueueConfig, **changes: Any) -> None:
        """Have the server know ``queue``, with ``changes`` of its fields."""
        self.stack.serve(replace(queue, **changes))

    def worker(
        self, queues: str = PARENT, *, memory_bytes: int | None = None, ready: bool = True, **env: str
    ) -> Worker:
        """Start a worker with brisk settings and ``env``; with ``ready``, return once a process of it is."""
        folder = self.stack.folder / f"worker-{len(self.stack.workers) + 1}"
        settings = {
            **BRISK,
            **ALONE,
            DIARY: f"{self.stack.runtime.scratch(folder)}/diary",
            **env,
            **self._mutation.env,
        }
        worker = self.stack.worker(queues, settings, memory_bytes=memory_bytes)
        if ready:
            patience.until(
                worker,
                lambda: self.diary(worker).of("ready"),
                3 * self.stack.runtime.start_s,
                "a task process to be ready",
                longest_pause_s=self.stack.runtime.look_every_s,
            )
        return worker

    def send(
        self,
        *payloads: Mapping[str, Any],
        count: int = 1,
        queue: str = QUEUE,
        timeout_s: int = 300,
    ) -> list[str]:
        """Send each payload ``count`` times by the SDK's client; returns the ids."""
        jobs = [payload for payload in payloads or ({},) for _ in range(count)]
        ids = tasks.send(self.client, queue, jobs, timeout_s)
        self.sent |= dict.fromkeys(ids, queue)
        return ids

    def beside(self, worker: Worker, name: str) -> str:
        """The path of a file that a worker's task processes may write, as they see it."""
        return worker.environment[DIARY].removesuffix("diary") + name

    # Act ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def fault(self, name: str, target: str = "", **parameters: Any) -> Iterator[None]:
        """Record a fault that lasts as long as what is inside, for the report."""
        number = len(self.timeline.of("fault"))
        self.timeline.record("faults", "fault.began", fault=name, target=target, id=number, **parameters)
        try:
            yield
        finally:
            self.timeline.record("faults", "fault.ended", fault=name, target=target, id=number)

    def move_redis(self) -> None:
        """See :meth:`~harness.sandbox.stack.Stack.move_redis`; from now on this looks there."""
        self.stack.move_redis()
        self.redis, self.db = self.stack.redis, self.stack.db

    def signal_task_process(self, worker: Worker, number: int = signal.SIGKILL) -> int:
        """Send the newest process in the worker's diary a signal; returns its pid."""
        pid = self.diary(worker).of("start")[-1].pid
        with self.fault(signal.Signals(number).name, f"task process {pid}"):
            worker.signal_child(pid, number)
        return pid

    # Look ---------------------------------------------------------------------------------------------

    def until(
        self,
        check: Callable[[], T],
        what: str,
        timeout_s: float = 20,
        seen: Callable[[], object] | None = None,
    ) -> T:
        """Wait for ``check`` to return something true, and return that; ``seen`` is shown when time is up.

        ``timeout_s`` is for a machine that does nothing else: see :data:`PATIENCE`.
        """
        diagnose = (lambda: f"saw {seen()}") if seen else lambda: ""
        return wait.until(
            check,
            self._patience_s(timeout_s, what),
            what,
            diagnose,
            longest_pause_s=self.stack.runtime.look_every_s,
        )

    def exit_status(self, worker: Worker, timeout_s: float = 12) -> int:
        """Wait until ``worker`` has ended; returns its exit status. ``timeout_s`` as in :meth:`until`."""
        return worker.wait(self._patience_s(timeout_s, "to end"))

    def _patience_s(self, timeout_s: float, what: str) -> float:
        """How long to wait for ``what``: as written where a mutation is to be met by waiting in vain."""
        in_vain = self._mutation.red and re.search(self._mutation.red, what)
        return timeout_s if in_vain else timeout_s * PATIENCE

    def stays(self, check: Callable[[], bool], what: str, for_s: float) -> None:
        """See that ``check`` is true, and true again whenever it is looked at within ``for_s`` seconds."""
        until_s = time.monotonic() + for_s

        def over() -> bool:
            if not check():
                broken.append(what)
            return bool(broken) or time.monotonic() >= until_s

        broken: list[str] = []
        wait.until(over, for_s + 10, f"{for_s:g} s to pass")
        if broken:
            raise AssertionError(f"it did not last {for_s:g} s that {what}")

    def expect_restarts(self, *after_s: float) -> None:
        """Put on the timeline what restarts should wait, for the report's curve."""
        for number, seconds in enumerate(after_s, 1):
            self.timeline.record("scenario", "restart.expected", restart=number, after_s=seconds)

    def places(self, ids: Sequence[str]) -> list[str]:
        """Where each task is: one of :data:`harness.queue.asynq.PLACES`, or ``nowhere``."""
        queues = {task_id: self.sent.get(task_id, QUEUE) for task_id in ids}
        found: dict[str, str] = {}
        for queue in set(queues.values()):
            inside = [task_id for task_id, its in queues.items() if its == queue]
            found |= zip(inside, tasks.places(self.db, queue, inside), strict=True)
        return [found[task_id] for task_id in ids]

    def ended(self, ids: Sequence[str], place: str = "completed", timeout_s: float = 20) -> None:
        """Wait until all of these tasks are in ``place``."""
        self.until(
            lambda: set(self.places(ids)) <= {place},
            f"{len(ids)} tasks to be {place}",
            timeout_s,
            lambda: dict(Counter(self.places(ids))),
        )

    def results(self, ids: Sequence[str], timeout_s: float = 20) -> list[Any]:
        """Wait until these tasks are completed, and ask the SDK's client for their results."""
        self.ended(ids, timeout_s=timeout_s)
        return [self.client.get_task(task_id).result for task_id in ids]

    def task(self, task_id: str) -> asynq.StoredTask:
        """A task's hash."""
        return tasks.stored(self.db, self.sent.get(task_id, QUEUE), task_id)

    def retried(self, ids: Sequence[str]) -> list[int]:
        """Retries charged to each."""
        return [tasks.retried(self.task(task_id)) for task_id in ids]

    def check_undisturbed(self, ids: Sequence[str]) -> None:
        """See that these tasks were charged nothing, and that no task was begun twice."""
        expect.equal("retries charged", self.retried(ids), [0] * len(ids))
        begun = self.diary().begun
        expect.true("each ran once", set(begun.values()) == {1}, begun)

    def diary(self, *workers: Worker) -> Diary:
        """What the task processes of these workers, or of all, wrote down; in the order of time."""
        entries = [
            entry
            for worker in workers or self.stack.workers
            for entry in Diary.of_text(worker.read_text(worker.environment.get(DIARY, ""))).entries
        ]
        return Diary(tuple(sorted(entries, key=lambda entry: entry.mono_ns)))

    def heartbeats(self) -> list[dict[str, Any]]:
        """The workers' hashes as they stand, with ``recovery`` and ``metrics`` decoded."""
        beats: list[dict[str, Any]] = [
            dict(beat)
            for worker_id in asynq.get_worker_ids(self.db)
            if (beat := asynq.get_worker(self.db, worker_id))
        ]
        for beat in beats:
            for name in ("recovery", "metrics"):
                beat[name] = json.loads(beat.get(name) or "{}")
        return beats

    def recovery(self, parent: str = PARENT) -> Mapping[str, Any]:
        """What the newest heartbeat says of a parent queue's recovery; empty before one does."""
        beats = self.heartbeats()
        found: Mapping[str, Any] = beats[-1]["recovery"].get(parent, {}) if beats else {}
        return found

    def ready(self, count: int, timeout_s: float = 20) -> None:
        """Wait until so many processes, one after the other, have been ready."""
        self.until(
            lambda: len(self.diary().of("ready")) >= count,
            f"{count} processes to be ready",
            timeout_s,
            lambda: f"{len(self.diary().of('ready'))}",
        )

    def degraded(self, parent: str = PARENT, timeout_s: float = 30) -> None:
        """Wait until a heartbeat says that the newest worker is degraded; no longer than it lives."""
        patience.until(
            self.stack.workers[-1],
            lambda: self.recovery(parent).get("state") == "degraded",
            self._patience_s(timeout_s, "the worker to be degraded"),
            "the worker to be degraded",
            longest_pause_s=self.stack.runtime.look_every_s,
        )

    # Around a scenario --------------------------------------------------------------------------------

    def check_standing(self) -> None:
        """What holds in every scenario: no task is lost, nothing wrong was sent to the server, and nothing is
        left in Redis that a strict tool of asynq's could not read."""
        kept = [
            task_id
            for task_id, queue in self.sent.items()
            if queue.partition(".")[0] not in self._without_results
        ]
        astray = [place for place in self.places(kept) if place not in asynq.PLACES]
        if astray:
            raise AssertionError(f"tasks are lost, or in two places: {astray}")
        if self.server.complaints and not self.complaints_expected:
            raise AssertionError(f"the server complains: {[c.problem for c in self.server.complaints]}")
        if findings := reader.read(self.db):
            raise AssertionError("a strict tool cannot read what is left:\n" + "\n".join(map(str, findings)))

    def collect(self) -> None:
        """Put the diaries on the timeline."""
        for worker in self.stack.workers:
            for entry in self.diary(worker).entries:
                self.timeline.record(
                    worker.name,
                    f"diary.{entry.event}",
                    at_s=entry.wall_ns / 1e9,
                    pid=entry.pid,
                    task_id=entry.task_id,
                    **entry.more,
                )

    @contextlib.contextmanager
    def sabotaged(self) -> Iterator[None]:
        """Inside, the mutation's sabotage goes on, where it has any."""
        act = self._mutation.sabotage
        if act is None:
            yield
            return
        over = threading.Event()
        db = self.redis.client()

        def run() -> None:
            while not over.wait(SABOTAGE_EVERY_S):
                with contextlib.suppress(redis.RedisError):
                    act(db)

        thread = threading.Thread(target=run, name="sabotage", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            db.close()
