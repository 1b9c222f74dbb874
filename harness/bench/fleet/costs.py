"""What a fleet of workers costs its Redis, from what a few of them were measured to cost. Pure.

Costs add up: each worker costs something for being there, each task for being done. A task that arrives
while workers wait idle costs most; tasks that have queued up travel together and cost least. What a fleet
costs lies between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

#: How much of its one core Redis should be asked for at most: above that, everybody waits for everybody.
FULL = 0.8
_US = 1e-6


@dataclass(frozen=True)
class Cost:
    """Of a worker's second, or of a task: commands (those in scripts too), CPU of Redis, bytes both ways."""

    commands: float
    redis_us: float
    bytes: float


@dataclass(frozen=True)
class Costs:
    """``idle`` is a worker's second with one sub-queue, ``lone`` and ``queued`` a task's, sent and done.

    ``connections`` are a worker's to Redis.
    """

    idle: Cost
    lone: Cost
    queued: Cost
    connections: float


@dataclass(frozen=True)
class Load:
    """What Redis has to do for a fleet, a second: tasks one by one (``lone``), or all of them queued up."""

    commands: float
    redis_cores: float
    bytes: float
    connections: float


def load(costs: Costs, workers: int, tasks_per_s: float, *, lone: bool) -> Load:
    """The load of ``workers`` that do ``tasks_per_s`` between them."""
    task = costs.lone if lone else costs.queued
    return Load(
        commands=workers * costs.idle.commands + tasks_per_s * task.commands,
        redis_cores=(workers * costs.idle.redis_us + tasks_per_s * task.redis_us) * _US,
        bytes=workers * costs.idle.bytes + tasks_per_s * task.bytes,
        connections=workers * costs.connections,
    )


def most_tasks_per_s(costs: Costs, workers: int, *, lone: bool) -> float:
    """Tasks a second at which Redis is :data:`FULL`; 0 where the workers alone fill it."""
    task = costs.lone if lone else costs.queued
    return max(0.0, FULL - workers * costs.idle.redis_us * _US) / (task.redis_us * _US)


def table(costs: Costs, workers: Sequence[int], tasks_per_s: Sequence[float]) -> list[list[str]]:
    """Rows for people: workers, tasks a second, Redis's CPU, commands, network; at least and at most."""
    rows = []
    for count in workers:
        for rate in tasks_per_s:
            low, high = load(costs, count, rate, lone=False), load(costs, count, rate, lone=True)
            rows.append(
                [
                    f"{count:,}",
                    f"{rate:,.0f}",
                    _range(100 * low.redis_cores, 100 * high.redis_cores, " %"),
                    _range(low.commands, high.commands, ""),
                    _range(low.bytes / 1e6, high.bytes / 1e6, " MB"),
                    f"{low.connections:,.0f}",
                ]
            )
    return rows


def _range(low: float, high: float, unit: str) -> str:
    first, second = (f"{each:,.1f}" if each < 10 else f"{each:,.0f}" for each in (low, high))
    return f"{first}{unit}" if first == second else f"{first} to {second}{unit}"
