"""How much is measured: the sizes of a full run and of a quick one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

#: Slots, which each of the workers is measured with.
CONCURRENCIES = (1, 8, 32)
#: The clock runs from this result on, so that starting up and warming up are not in it.
WARM_RESULTS = 200


@dataclass(frozen=True)
class Plan:
    """Counts are tasks unless the name says otherwise. The peers get fewer: they take as long for them.

    Memory is read at half of its tasks and at their end. ``pending`` are the tasks that wait behind
    those that are measured, which come in bursts of ``pending_burst``. ``crowd`` is a number of idle
    workers, 0 to leave that figure out.
    """

    repetitions: int = 5
    ours: Mapping[int, int] = field(default_factory=lambda: {1: 12_000, 8: 40_000, 32: 40_000})
    peers: Mapping[int, int] = field(default_factory=lambda: {1: 3_000, 8: 4_000, 32: 4_000})
    latencies: int = 200
    idle_s: float = 20.0
    memory_of_ours: int = 100_000
    memory_of_peers: int = 20_000
    pending: tuple[int, int] = (1_000, 1_000_000)
    pending_bursts: int = 15
    pending_burst: int = 8_000
    pipe_requests: int = 60_000
    crowd: int = 100


FULL = Plan()
QUICK = replace(
    FULL,
    repetitions=1,
    ours={1: 3_000, 8: 10_000, 32: 10_000},
    peers={1: 800, 8: 1_000, 32: 1_000},
    latencies=50,
    idle_s=5.0,
    memory_of_ours=10_000,
    memory_of_peers=2_000,
    pending=(1_000, 100_000),
    pending_bursts=5,
    pending_burst=4_000,
    pipe_requests=10_000,
    crowd=0,
)


@dataclass(frozen=True)
class ScalePlan:
    """How many workers share one queue, each with ``concurrency`` slots, and how many tasks each brings."""

    workers: tuple[int, ...] = (1, 2, 4, 8)
    concurrency: int = 8
    tasks_each: int = 20_000
    repetitions: int = 3


FULL_SCALE = ScalePlan()
QUICK_SCALE = replace(FULL_SCALE, workers=(1, 2, 4), tasks_each=4_000, repetitions=1)
