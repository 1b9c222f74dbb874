"""How much a comparison measures: the sizes of a full run and of a quick one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Plan:
    """Counts are tasks unless the name says otherwise. The peers get fewer: they take as long for them.

    Memory is read at half of its tasks and at their end. ``pending`` are the tasks that wait behind
    those that are measured, which come in bursts of ``pending_burst``. ``crowd`` is a number of idle
    workers, 0 to leave that figure out. Utilisation is measured at each of ``lengths_ms`` and
    ``round_trips_ms``, with as many tasks as take ``utilisation_s``.
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
    lengths_ms: tuple[int, ...] = (10, 50, 200)
    round_trips_ms: tuple[int, ...] = (0, 20, 80)
    utilisation_s: float = 10.0


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
    lengths_ms=(10,),
    round_trips_ms=(0, 20),
    utilisation_s=3.0,
)
