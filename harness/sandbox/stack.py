"""All a worker needs, for one run: Redis, server, repositories, and workers; gone afterwards."""

import contextlib
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from harness.sandbox.client import Client
from harness.sandbox.redis import ExternalRedis, RedisServer
from harness.sandbox.repo import GitRepo, make_repo
from harness.sandbox.runtimes.process import ProcessRuntime
from harness.sandbox.runtimes.protocol import Runtime, Worker
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer

#: The worker of this project, as a program.
WORKER_COMMAND = (sys.executable, "-m", "appliance")


class Stack:
    """A context manager: inside it everything runs, after it nothing is left.

    ``runtime`` (entered already) is where workers run. ``redis_server`` None makes one of our own.
    ``folder`` None is a temporary one that is removed at the end, a given one stays. ``server_options``
    are further arguments of :class:`~harness.server.fake.FakeServer`.
    """

    def __init__(
        self,
        *,
        runtime: Runtime | None = None,
        redis_server: RedisServer | ExternalRedis | None = None,
        folder: Path | None = None,
        server_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.runtime: Runtime = runtime or ProcessRuntime(WORKER_COMMAND)
        self._given_redis = redis_server
        self._given_folder = folder
        self._server_options = dict(server_options or {})
        self._exits = contextlib.ExitStack()
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        with self._exits:
            if self._given_folder is None:
                self.folder = Path(tempfile.mkdtemp(prefix="runqy-"))
                self._exits.callback(shutil.rmtree, self.folder)
            else:
                self.folder = self._given_folder
            self.redis: RedisServer | ExternalRedis = self._given_redis or self._own_redis()
            self._exits.enter_context(self.redis)
            self.db: redis.Redis = self.redis.client()
            self._exits.callback(self.db.close)
            self.server = self._exits.enter_context(
                FakeServer(
                    self.redis.url,
                    host=self.runtime.address,
                    redis_url_for_workers=self.redis.url_for_workers,
                    **self._server_options,
                )
            )
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
        """Have the server know ``queue``, in place of one of that name."""
        self.server.configure(queue)

    def worker(
        self, queues: str, env: Mapping[str, str] | None = None, *, memory_bytes: int | None = None
    ) -> Worker:
        """Start a worker on ``queues`` with the variables it needs, and those of ``env``, which win."""
        name = f"worker-{len(self.workers) + 1}"
        folder = self.folder / name
        variables = {
            "RUNQY_SERVER_URL": self.server.url,
            "RUNQY_API_KEY": self.server.worker_key,
            "RUNQY_QUEUES": queues,
            **self.runtime.settings(folder),
            **(env or {}),
        }
        worker = self.runtime.worker(name, variables, folder, memory_bytes=memory_bytes)
        self._exits.callback(worker.close)
        worker.start()
        # Only now: who looks at the workers from another thread may ask them anything.
        self.workers.append(worker)
        return worker

    def client(self) -> Any:
        """The SDK's client, with a key that may enqueue."""
        return Client(self.server.url, self.server.client_key)

    def move_redis(self) -> None:
        """Have Redis move to another address with another password, whole, and the server say so."""
        before = self.redis
        if not isinstance(before, RedisServer):
            raise TypeError(f"{before.url} is not ours to move")
        address = self.runtime.address
        after = RedisServer(self.folder / "redis-moved", address=address, password=secrets.token_hex(16))
        self.redis = self._exits.enter_context(after)
        after.take_over(before)
        self.db = after.client()
        self._exits.callback(self.db.close)
        self.server.use_redis(after.url, after.url_for_workers)

    def diagnosis(self) -> str:
        """What helps to see why something did not come about: how the workers' logs end, complaints."""
        parts = [f"--- {worker.name} ends:\n{worker.tail()}" for worker in self.workers]
        parts += [f"--- complaint: {c.method} {c.path}: {c.problem}" for c in self.server.complaints]
        return "\n".join(parts)

    def _own_redis(self) -> RedisServer:
        # Every container in the network can reach it there.
        address = self.runtime.address
        password = None if address == RedisServer.host else secrets.token_hex(16)
        return RedisServer(self.folder / "redis", address=address, password=password)
