"""How many workers share a queue: the sizes of a full run and of a quick one."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ScalePlan:
    """How many workers share one queue, each with ``concurrency`` slots, and how many tasks each brings."""

    workers: tuple[int, ...] = (1, 2, 4, 8)
    concurrency: int = 8
    tasks_each: int = 20_000
    repetitions: int = 3


FULL_SCALE = ScalePlan()
QUICK_SCALE = replace(FULL_SCALE, workers=(1, 2, 4), tasks_each=4_000, repetitions=1)
