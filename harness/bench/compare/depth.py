"""What a task costs with few and with very many others pending, on our worker."""

from harness.bench.rig.common import WARM_RESULTS
from harness.bench.rig.measure import started
from harness.bench.rig.observer import Observer, cpu_s
from harness.bench.rig.ours import Ours
from harness.bench.rig.stats import Window

CONCURRENCY = 8


def costs_us(
    observer: Observer, ours: Ours, pending: int, bursts: int, burst: int
) -> tuple[list[float], list[float]]:
    """Microseconds a task with at least ``pending`` others waiting, a value for each of ``bursts``.

    First the time that passed, then the CPU time of the worker and Redis. At either depth ``burst`` tasks
    are added for each value, so that both are measured in the same way.
    """
    observer.empty()
    ours.enqueue(pending)
    walls, cpus = [], []
    with started(ours, CONCURRENCY) as process:
        running = ours.running(process)
        pids = (*running.pids, observer.redis_pid)
        for _ in range(bursts):
            ours.enqueue(burst)
            done = observer.done(ours)
            first = observer.reached(ours, done + WARM_RESULTS, process)
            cpu_before = cpu_s(pids)
            last = observer.reached(ours, done + burst - WARM_RESULTS, process)
            cpu_used = cpu_s(pids) - cpu_before
            window = Window(first, last)
            walls.append(1e6 / window.tasks_per_s)
            cpus.append(1e6 * cpu_used / window.tasks)
    return walls, cpus
