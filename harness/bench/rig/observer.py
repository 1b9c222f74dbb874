"""What Redis did, without what we did ourselves to see it."""

import time
from typing import Any

import psutil
import redis

from harness.bench.rig.contestant import LOOK_EVERY_S, Contestant
from harness.bench.rig.spy import Spy
from harness.bench.rig.stats import Reading
from harness.sandbox import patience
from harness.sandbox.redis import RedisServer
from harness.sandbox.runtimes.process import WorkerProcess

#: Seconds for one measurement; the slowest takes a quarter of it.
PATIENCE_S = 300.0
_MB = 1_000_000


class Observer:
    """Reads the counters of one Redis. Each look is one command and one read, and is subtracted."""

    def __init__(self, db: redis.Redis, server: RedisServer) -> None:
        self._db = db
        self._server = server
        self._looks = 0

    @property
    def redis_pid(self) -> int:
        """The process of Redis."""
        return self._server.pid or 0

    def spy(self) -> Spy:
        """For counting what is sent while nothing else goes on."""
        self._looks += 1
        return Spy(self._server.host, self._server.port)

    def empty(self) -> None:
        """Empty Redis."""
        self._db.flushall()

    def done(self, contestant: Contestant) -> int:
        """Results so far."""
        self._looks += 1
        return contestant.done()

    def read(self, contestant: Contestant) -> Reading:
        """All that is counted, at this instant."""
        done = self.done(contestant)
        info: Any = self._db.info("stats")
        looks, self._looks = self._looks, self._looks + 1
        commands, requests = info["total_commands_processed"], info["total_reads_processed"]
        return Reading(time.monotonic(), done, commands - looks, requests - looks)

    def reached(self, contestant: Contestant, count: int, process: WorkerProcess) -> Reading:
        """The first reading with so many results. Raises TimedOut with the worker's last words."""
        what = f"{count} results of {contestant.name}"
        patience.until(
            process, lambda: self.done(contestant) >= count, PATIENCE_S, what, longest_pause_s=LOOK_EVERY_S
        )
        return self.read(contestant)


def cpu_s(pids: tuple[int, ...]) -> float:
    """Seconds of CPU these processes have used, in user and kernel mode."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def memory_mb(pids: tuple[int, ...]) -> tuple[float, float]:
    """RSS and PSS of these processes, in millions of bytes; pages they share are counted twice in RSS."""
    found = [psutil.Process(pid).memory_full_info() for pid in pids]
    return sum(each.rss for each in found) / _MB, sum(each.pss for each in found) / _MB
