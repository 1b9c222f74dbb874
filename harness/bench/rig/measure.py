"""One measurement each: a worker is started on an emptied Redis, watched, and ended."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.bench.rig import stats
from harness.bench.rig.common import WARM_RESULTS
from harness.bench.rig.contestant import Contestant
from harness.bench.rig.observer import Observer, cpu_s, memory_mb
from harness.bench.rig.stats import Window
from harness.sandbox.runtimes.process import WorkerProcess

#: Tasks before latencies are measured, so that first times are not in them.
WARM_TASKS = 20


@dataclass(frozen=True)
class Idle:
    """An idle worker with one queue: per second, and per cent of one core.

    ``sent_per_s`` are the commands it sends, ``commands_per_s`` those that Redis runs, inside scripts too.
    """

    sent_per_s: float
    commands_per_s: float
    cpu_percent: float


@dataclass(frozen=True)
class Memory:
    """Millions of bytes after all tasks, and by how much RSS and PSS grew over the second half of them."""

    rss_mb: float
    pss_mb: float
    rss_growth_mb: float
    pss_growth_mb: float


@contextmanager
def started(contestant: Contestant, concurrency: int) -> Iterator[WorkerProcess]:
    """A worker that is gone afterwards."""
    process = contestant.start(concurrency)
    try:
        yield process
    finally:
        process.close()


def throughput(observer: Observer, contestant: Contestant, concurrency: int, count: int) -> Window:
    """All tasks wait before the worker starts; the clock runs from the first 200 results to the last."""
    observer.empty()
    contestant.enqueue(count)
    observer.read(contestant)  # so that our own connections are not opened while it counts
    with started(contestant, concurrency) as process:
        first = observer.reached(contestant, min(WARM_RESULTS, count // 2), process)
        return Window(first, observer.reached(contestant, count, process))


def latency_and_idle(
    observer: Observer, contestant: Contestant, count: int, idle_s: float
) -> tuple[list[float], Idle]:
    """Seconds until each of ``count`` tasks began on an idle worker, then what it does without any."""
    observer.empty()
    with started(contestant, 1) as process:
        running = contestant.running(process)
        contestant.latencies(WARM_TASKS)
        latencies = contestant.latencies(count)
        cpu_before, before = cpu_s(running.pids), observer.read(contestant)
        with observer.spy() as spy:
            time.sleep(idle_s)
            sent = spy.sent()
        cpu_after, after = cpu_s(running.pids), observer.read(contestant)
    took_s = after.at_s - before.at_s
    idle = Idle(
        sent / took_s,
        (after.commands - before.commands) / took_s,
        100 * (cpu_after - cpu_before) / took_s,
    )
    return latencies, idle


def memory(observer: Observer, contestant: Contestant, count: int) -> Memory:
    """Read after one half of ``count`` tasks and after the other, with nothing left to do."""
    observer.empty()
    concurrency = min(8, max(contestant.concurrencies))
    contestant.enqueue(count // 2)
    with started(contestant, concurrency) as process:
        running = contestant.running(process)
        observer.reached(contestant, count // 2, process)
        half = memory_mb(running.pids)
        contestant.enqueue(count - count // 2)
        observer.reached(contestant, count, process)
        rss_mb, pss_mb = memory_mb(running.pids)
    return Memory(rss_mb, pss_mb, rss_mb - half[0], pss_mb - half[1])


def latency_percentiles_ms(latencies_s: list[float]) -> dict[int, float]:
    """The 50th, 95th and 99th."""
    return {percent: 1000 * stats.percentile(latencies_s, percent) for percent in (50, 95, 99)}
