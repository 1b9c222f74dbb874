"""A server, a Redis and workers for one test, and what a test wants to know of them."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from harness import wait
from harness.evidence.diary import Diary
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox import brisk
from harness.sandbox.handlers import handler_files
from harness.sandbox.redis import RedisServer
from harness.sandbox.repo import GitRepo, make_repo
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.tools import search_path
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer

QUEUE = "inference.default"
#: Recovery and retries at a pace a test can wait for.
BRISK = {
    **brisk.BRISK,
    **brisk.ALONE,
    "RUNQY_LOG_FORMAT": "json",
    "PATH": search_path(),
}


class World:
    """Everything a worker needs; workers are started by :meth:`worker` and end with the test."""

    def __init__(self, folder: Path, redis_server: RedisServer, server: FakeServer, stack: ExitStack) -> None:
        self.folder = folder
        self.redis = redis_server
        self.server = server
        self.db: redis.Redis = redis_server.client()
        #: Those that were started so far.
        self.workers: list[WorkerProcess] = []
        self._stack = stack
        self._handler_env: dict[str, str] = {}
        self._diary = folder / "diary.jsonl"

    def serve(self, handler: str | Mapping[str, str], name: str = "inference", **config: Any) -> GitRepo:
        """Give the queue a repository with a handler of the harness, or with these files."""
        files = handler_files(handler) if isinstance(handler, str) else handler
        repo = make_repo(self.folder / f"{name}.git", files)
        self.server.configure(QueueConfig(name=name, git_url=repo.url, **config))
        return repo

    def serve_sleeper(self, run_s: float = 0.001, **config: Any) -> None:
        """Give the queue a handler whose tasks last ``run_s`` and whose results are the process's pid."""
        self.serve("raw_sleep", **config)
        self._handler_env["HANDLER_SECONDS"] = str(run_s)

    def worker(
        self, command: Sequence[str] = (sys.executable, "-m", "appliance"), **env: str
    ) -> WorkerProcess:
        """Start a worker with the three variables, brisk recovery, a diary for handlers, and ``env``."""
        settings = {
            "RUNQY_SERVER_URL": self.server.url,
            "RUNQY_API_KEY": self.server.worker_key,
            "RUNQY_QUEUES": "inference",
            "RUNQY_DEPLOYMENT_DIR": str(self.folder / "deployment"),
            "HANDLER_DIARY": str(self._diary),
            **BRISK,
            **self._handler_env,
            **env,
        }
        name = f"worker{len(self.workers) + 1}"
        self.workers.append(WorkerProcess(command, settings, self.folder / "run", name))
        return self._stack.enter_context(self.workers[-1])

    def seed(self, count: int, payload: Any = None, **fields: Any) -> list[str]:
        """Put ``count`` tasks into the queue."""
        tasks = [NewTask({"n": n} if payload is None else payload, **fields) for n in range(count)]
        return asynq.seed_pending(self.db, QUEUE, *tasks)

    def running(self, worker: WorkerProcess) -> None:
        """Wait until the worker says that it is running and its process is ready."""
        self.event(worker, "worker.running")
        self.event(worker, "process.ready")

    def event(self, worker: WorkerProcess, name: str, count: int = 1) -> dict[str, Any]:
        """Wait until ``worker`` has logged ``name`` so many times; returns the last."""

        def found() -> list[dict[str, Any]]:
            events = [event for event in worker.log_events() if event["event"] == name]
            return events if len(events) >= count else []

        return wait.until(found, 60, f"{count} × {name}", worker.tail)[-1]

    def completed(self, count: int, worker: WorkerProcess, timeout_s: float = 30) -> None:
        """Wait until so many tasks are completed."""

        # Counted by Redis: to read thousands of ids ten times a second is work for two.
        def completed() -> int:
            return int(self.db.zcard(asynq.key(QUEUE, "completed")))  # type: ignore[arg-type]

        wait.until(
            lambda: completed() >= count,
            timeout_s,
            f"{count} completed tasks",
            lambda: f"{completed()} are\n{worker.tail()}",
        )

    @property
    def diary(self) -> Diary:
        """What the handlers of all workers wrote down so far."""
        return Diary.of_file(self._diary)

    def entries(self) -> int:
        """How many entries that diary has; counted, which is much cheaper than to read them."""
        return self._diary.read_bytes().count(b"\n") if self._diary.exists() else 0

    def charged(self, task_ids: Sequence[str]) -> int:
        """Retries spent, over all these tasks."""
        with self.db.pipeline() as pipe:
            for task_id in task_ids:
                pipe.hget(asynq.task_key(QUEUE, task_id), "retried")
            return sum(int(retried or 0) for retried in pipe.execute())

    def result(self, task_id: str) -> Any:
        """A completed task's result."""
        task = asynq.get_task(self.db, QUEUE, task_id)
        assert task is not None
        assert task.state == "completed", task
        return task.result

    def heartbeats(self) -> list[dict[str, str]]:
        """Every worker's hash."""
        return [asynq.get_worker(self.db, worker_id) for worker_id in asynq.get_worker_ids(self.db)]

    def everything_in_redis(self) -> str:
        """All keys and values, as text, for a search."""
        kinds: dict[bytes, Any] = {
            b"string": self.db.get,
            b"list": lambda k: self.db.lrange(k, 0, -1),
            b"set": self.db.smembers,
            b"zset": lambda k: self.db.zrange(k, 0, -1),
            b"hash": self.db.hgetall,
        }
        return json.dumps({str(k): str(kinds[self.db.type(k)](k)) for k in self.db.keys("*")})


def complaints(worker: WorkerProcess) -> list[dict[str, Any]]:
    """What it has warned of, but for what this machine cannot protect and how handlers are written."""
    expected = {"isolation.lacking", "process.one_at_a_time"}
    return [
        event
        for event in worker.log_events()
        if event["level"] in {"warning", "error"} and event["event"] not in expected
    ]


@contextmanager
def world(folder: Path, **redis_options: Any) -> Iterator[World]:
    """A fresh world in ``folder``; its Redis listens on a port of its own."""
    with ExitStack() as stack:
        redis_server = stack.enter_context(RedisServer(folder / "redis", **redis_options))
        server = stack.enter_context(FakeServer(redis_server.url))
        yield World(folder, redis_server, server, stack)
