"""A server, a Redis and workers for one test, and what a test wants to know of them."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from harness import asynq, wait
from harness.asynq import NewTask
from harness.catalogue import handler_files
from harness.diary import Diary
from harness.redis import RedisServer
from harness.repo import GitRepo, make_repo
from harness.runtimes.process import WorkerProcess
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer

QUEUE = "inference.default"
#: Recovery and retries at a pace a test can wait for.
BRISK = {
    "RUNQY_RECOVERY_INITIAL_DELAY": "50ms",
    "RUNQY_RETRY_BASE_DELAY": "50ms",
    "RUNQY_BOOTSTRAP_RETRY_DELAY": "50ms",
    "RUNQY_LOG_FORMAT": "json",
    # With nothing inherited uv makes the environments, in a fraction of pip's time.
    "RUNQY_USE_SYSTEM_SITE_PACKAGES": "false",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


class World:
    """Everything a worker needs; workers are started by :meth:`worker` and end with the test."""

    def __init__(self, folder: Path, redis_server: RedisServer, server: FakeServer, stack: ExitStack) -> None:
        self.folder = folder
        self.redis = redis_server
        self.server = server
        self.db: redis.Redis = redis_server.client()
        self._stack = stack
        self._workers = 0
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
        self._workers += 1
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
        started = WorkerProcess(command, settings, self.folder / "run", f"worker{self._workers}")
        return self._stack.enter_context(started)

    def seed(self, count: int, payload: Any = None, **fields: Any) -> list[str]:
        """Put ``count`` tasks into the queue."""
        tasks = [NewTask({"n": n} if payload is None else payload, **fields) for n in range(count)]
        return asynq.seed_pending(self.db, QUEUE, *tasks)

    def running(self, worker: WorkerProcess) -> None:
        """Wait until the worker says that it is running and its process is ready."""
        self.event(worker, "worker.running")
        self.event(worker, "child.ready")

    def event(self, worker: WorkerProcess, name: str, count: int = 1) -> dict[str, Any]:
        """Wait until ``worker`` has logged ``name`` so many times; returns the last."""

        def found() -> list[dict[str, Any]]:
            events = [event for event in worker.log_events() if event["event"] == name]
            return events if len(events) >= count else []

        return wait.until(found, 30, f"{count} × {name}", worker.tail)[-1]

    def completed(self, count: int, worker: WorkerProcess, timeout_s: float = 30) -> None:
        """Wait until so many tasks are completed."""
        wait.until(
            lambda: len(asynq.get_completed(self.db, QUEUE)) >= count,
            timeout_s,
            f"{count} completed tasks",
            lambda: f"{len(asynq.get_completed(self.db, QUEUE))} are\n{worker.tail()}",
        )

    @property
    def diary(self) -> Diary:
        """What the handlers of all workers wrote down so far."""
        return Diary.of_file(self._diary)

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


@contextmanager
def world(folder: Path, **redis_options: Any) -> Iterator[World]:
    """A fresh world in ``folder``; its Redis listens on a port of its own."""
    with ExitStack() as stack:
        redis_server = stack.enter_context(RedisServer(folder / "redis", **redis_options))
        server = stack.enter_context(FakeServer(redis_server.url))
        yield World(folder, redis_server, server, stack)
