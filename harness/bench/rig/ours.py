"""Our worker, as a program: a server and a repository for it, and tasks as clients write them."""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import wait
from harness.bench.rig.common import CONCURRENCIES
from harness.bench.rig.contestant import LOOK_EVERY_S, Running
from harness.bench.rig.figures import OURS
from harness.bench.rig.seeding import Seeder
from harness.queue import asynq
from harness.sandbox import patience
from harness.sandbox.brisk import ALONE
from harness.sandbox.handlers import handler_source
from harness.sandbox.redis import RedisServer
from harness.sandbox.repo import make_repo
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.tools import search_path
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer

PARENT, QUEUE = "bench", "bench.default"
#: Seconds to deploy and to become ready, on a busy machine.
START_TIMEOUT_S = 60.0
#: Seconds for one task of an idle worker.
TASK_TIMEOUT_S = 30.0
#: Seconds between the tasks of a latency measurement.
PAUSES_S = (0.02, 0.08)


class Ours:
    """A context manager: inside it the server runs, whose workers use ``redis``, by way of ``url``."""

    name = OURS
    how = "long_running process without the SDK, strict queues, no state folder, logging at info"
    concurrencies = CONCURRENCIES

    def __init__(
        self,
        redis: RedisServer,
        folder: Path,
        command: Sequence[str],
        seed: int = 1,
        *,
        url: str = "",
        payload: object = None,
    ) -> None:
        self._redis = redis
        self._db = redis.client()
        self._folder = folder
        self._command = command
        self._random = random.Random(seed)
        self._seeder = Seeder(self._db, QUEUE, payload)
        self._started = 0
        self._server = FakeServer(url or redis.url)
        repo = make_repo(folder / "task.git", {"main.py": handler_source("raw_noop")})
        self._server.configure(QueueConfig(name=PARENT, git_url=repo.url))

    def __enter__(self) -> "Ours":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._db.close()

    def enqueue(self, count: int) -> None:
        """See :class:`~harness.bench.rig.contestant.Contestant`."""
        self._seeder.add(count)

    def enqueue_at_once(self, count: int) -> None:
        """Put so many tasks into the empty queue at one instant: idle workers all begin with a full queue."""
        self._seeder.add_at_once(count)

    def done(self) -> int:
        """Completed ones: failures are not results."""
        completed: Any = self._db.zcard(asynq.key(QUEUE, "completed"))
        return int(completed)

    def start(self, concurrency: int) -> WorkerProcess:
        """Start a worker; the first one deploys, the others find what it left."""
        self._started += 1
        settings = {
            "RUNQY_SERVER_URL": self._server.url,
            "RUNQY_API_KEY": self._server.worker_key,
            "RUNQY_QUEUES": PARENT,
            "RUNQY_CONCURRENCY": str(concurrency),
            "RUNQY_DEPLOYMENT_DIR": str(self._folder / "deployment"),
            **ALONE,
            "PATH": search_path(),
        }
        process = WorkerProcess(self._command, settings, self._folder / "run", f"ours-{self._started}")
        return process.start()

    def running(self, process: WorkerProcess) -> Running:
        """The worker's own process; the task process is not the worker's memory, and idles at nothing."""
        patience.until(
            process,
            process.children,
            START_TIMEOUT_S,
            "the worker's task process",
            longest_pause_s=LOOK_EVERY_S,
        )
        return Running(process, (process.pid,))

    def latencies(self, count: int) -> list[float]:
        """The worker has to be started already."""
        return [self._latency() for _ in range(count)]

    def one(self) -> str:
        """Enqueue one task as a client does; returns its id."""
        return self._seeder.add_one()

    def _latency(self) -> float:
        time.sleep(self._random.uniform(*PAUSES_S))
        sent_s = time.time()
        task_id = self.one()
        stored = wait.until(
            lambda: asynq.get_task(self._db, QUEUE, task_id).result,  # type: ignore[union-attr]
            TASK_TIMEOUT_S,
            "a result",
        )
        return float(stored) - sent_s
