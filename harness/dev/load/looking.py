"""Looks at workers while they are under load: memory, what waits, and how busy the machine is."""

import contextlib
import time
from collections.abc import Callable, Sequence

import psutil
import redis

from harness.background import Background
from harness.dev.load.figures import Sample
from harness.queue import asynq

EVERY_S = 0.5


def counts(db: redis.Redis, queues: Sequence[str]) -> tuple[int, int]:
    """How many tasks wait, and how many run, at one instant."""
    with db.pipeline(transaction=True) as pipe:
        for queue in queues:
            pipe.llen(asynq.key(queue, "active"))
            pipe.llen(asynq.key(queue, "pending"))
            pipe.zcard(asynq.key(queue, "scheduled"))
            pipe.zcard(asynq.key(queue, "retry"))
        found: list[int] = pipe.execute()
    running = sum(found[::4])
    return sum(found) - running, running


class Looking(Background):
    """Samples from entering to leaving, in its own thread; ``now`` says what time a sample is of."""

    def __init__(
        self, db: redis.Redis, queues: Sequence[str], pids: Sequence[int], now: Callable[[], float]
    ) -> None:
        super().__init__("looking")
        self._db = db
        self._queues = queues
        self._pids = pids
        self._now = now
        self.samples: list[Sample] = []

    def tick(self) -> None:
        """Look once."""
        memory = [_memory(pid) for pid in self._pids]
        self.samples.append(
            Sample(self._now(), memory, counts(self._db, self._queues)[0], psutil.cpu_percent())
        )

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            due_s += EVERY_S
            with contextlib.suppress(redis.RedisError, OSError):
                self.tick()


def _memory(pid: int) -> int:
    """Resident bytes of a process and its descendants."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total
