"""All a worker needs, for one run: Redis, server, repositories, and workers; gone afterwards."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from runqy_python import RunqyClient

from harness.redis import ExternalRedis, RedisServer
from harness.repo import GitRepo, make_repo
from harness.runtimes.process import WorkerProcess
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer

#: The worker of this project, as a program.
WORKER_COMMAND = (sys.executable, "-m", "appliance")


class Stack:
    """A context manager: inside it everything runs, after it nothing is left.

    ``redis_server`` None makes one of our own. ``folder`` None is a temporary one that is removed at the
    end, a given one stays. ``make_server`` gets the Redis URL.
    """

    def __init__(
        self,
        *,
        redis_server: RedisServer | ExternalRedis | None = None,
        folder: Path | None = None,
        worker_command: Sequence[str] = WORKER_COMMAND,
        make_server: Callable[[str], FakeServer] = FakeServer,
    ) -> None:
        self._given_redis = redis_server
        self._given_folder = folder
        self._worker_command = tuple(worker_command)
        self._make_server = make_server
        self._exits = contextlib.ExitStack()
        self.workers: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        with self._exits:
            if self._given_folder is None:
                self.folder = Path(tempfile.mkdtemp(prefix="runqy-"))
                self._exits.callback(shutil.rmtree, self.folder)
            else:
                self.folder = self._given_folder
            self.redis: RedisServer | ExternalRedis = self._given_redis or RedisServer(self.folder / "redis")
            self._exits.enter_context(self.redis)
            self.db: redis.Redis = self.redis.client()
            self._exits.callback(self.db.close)
            self.server = self._exits.enter_context(self._make_server(self.redis.url))
            # What began well stays; only a failure on the way here undoes it at once.
            self._exits = self._exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    def repo(self, files: Mapping[str, str], name: str = "code", branch: str = "main") -> GitRepo:
        """A new repository of this run."""
        return make_repo(self.folder / "repos" / f"{name}.git", files, branch)

    def serve(self, queue: QueueConfig) -> None:
        """Have the server know ``queue``, or know it anew."""
        self.server.configure(queue)

    def worker(
        self, queues: str, env: Mapping[str, str] | None = None, command: Sequence[str] | None = None
    ) -> WorkerProcess:
        """Start a worker on ``queues`` with the variables it needs, and those of ``env``, which win."""
        name = f"worker-{len(self.workers) + 1}"
        folder = self.folder / name
        variables = {
            "RUNQY_SERVER_URL": self.server.url,
            "RUNQY_API_KEY": self.server.worker_key,
            "RUNQY_QUEUES": queues,
            "RUNQY_DEPLOYMENT_DIR": str(folder / "deployment"),
            **(env or {}),
        }
        worker = WorkerProcess(command or self._worker_command, variables, folder, name)
        self.workers.append(worker)
        self._exits.callback(worker.close)
        return worker.start()

    def client(self) -> Any:
        """The SDK's own client, with a key that may enqueue."""
        return RunqyClient(self.server.url, self.server.client_key)

    def diagnosis(self) -> str:
        """What helps to see why something did not come about: how the workers' logs end, complaints."""
        parts = [f"--- {worker.name} ends:\n{worker.tail()}" for worker in self.workers]
        parts += [f"--- complaint: {c.method} {c.path}: {c.problem}" for c in self.server.complaints]
        return "\n".join(parts)
