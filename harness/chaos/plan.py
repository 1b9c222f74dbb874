"""What a run of chaos does and when: a pure function of the seed, the duration and the number of workers.

Nothing is drawn while the run goes on, so that the same seed is the same load and the same faults again,
at the same moments. What the machine makes of them is its own affair.
"""

import json
import random
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PARENT = "chaos"
#: Sub-queues and their priorities.
SUB_QUEUES = {"chaos.high": 9, "chaos.low": 1, "chaos.default": 3}
REDIS = "redis"
#: Retries of tasks that must come through whatever is done to their workers.
MANY = 100


@dataclass(frozen=True)
class PlannedTask:
    """A task to send at ``at_s`` (seconds from the beginning), due ``delay_s`` later.

    ``payload`` is for the handler ``chaos``; ``must`` is the only end it may come to, empty for either.
    """

    at_s: float
    task_id: str
    queue: str
    behaviour: str
    payload: dict[str, Any]
    retry: int
    must: str
    timeout_s: int = 0
    delay_s: float = 0.0
    unique: bool = False


@dataclass(frozen=True)
class PlannedFault:
    """Trouble on ``target`` (``redis``, or a worker's number) from ``at_s`` on for ``for_s`` seconds."""

    at_s: float
    for_s: float
    kind: str
    target: str
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The whole. ``skews_s`` is how far each worker's clock is ahead."""

    seed: int
    duration_s: float
    workers: int
    tasks: Sequence[PlannedTask]
    faults: Sequence[PlannedFault]
    skews_s: Sequence[float]


@dataclass(frozen=True)
class _Kind:
    """A behaviour: how often, beside the others, and what a payload of it is."""

    weight: float
    payload: Callable[[random.Random], dict[str, Any]]
    must: str = "completed"
    retry: int = MANY
    timeout_s: int = 0
    most_delay_s: float = 0.0
    unique: bool = False


def _working(least_s: float, most_s: float) -> Callable[[random.Random], dict[str, Any]]:
    return lambda rng: {"do": "work", "seconds": round(rng.uniform(least_s, most_s), 4)}


def _failing(do: str, until: int) -> Callable[[random.Random], dict[str, Any]]:
    return lambda _: {"do": do, "until": until}


def _big(rng: random.Random) -> dict[str, Any]:
    return {"do": "work", "blob": f"{rng.getrandbits(64):016x}" * rng.randrange(500, 40_000)}


#: The mix of the load.
BEHAVIOURS = {
    "short": _Kind(50, _working(0, 0.01)),
    "middling": _Kind(14, _working(0.05, 0.3)),
    "long": _Kind(1.5, _working(2.5, 4)),
    "big": _Kind(4, _big),
    "noisy": _Kind(3, lambda _: {"do": "noise"}),
    "scheduled": _Kind(5, _working(0, 0.05), most_delay_s=5),
    "unique": _Kind(4, _working(0, 0.05), unique=True),
    "fails once": _Kind(5, _failing("retry", 1)),
    "fails twice": _Kind(2, _failing("retry", 2)),
    "fails always": _Kind(1, _failing("retry", MANY), must="archived", retry=2),
    "fails for good": _Kind(2, _failing("fail", MANY), must="archived"),
    "crashes once": _Kind(1.5, _failing("crash", 1)),
    "breaks once": _Kind(0.5, _failing("segv", 1)),
    "crashes always": _Kind(0.3, _failing("crash", MANY), must="archived", retry=1),
    "hangs once": _Kind(0.7, _failing("hang", 1), timeout_s=1),
    "fragile": _Kind(3, _working(0, 0.1), must="", retry=1),
}

#: What happens to a worker, its processes and its links: weight, and seconds from and to.
WORKER_FAULTS = {
    "worker killed": (3, 0, 0),
    "worker asked to end": (2, 0, 0),
    "worker stopped": (3, 0.3, 6),
    "task process killed": (3, 0, 0),
    "task process stopped": (1, 0.3, 2),
    "latency": (2, 1, 4),
    "jitter": (2, 1, 4),
    "bandwidth": (1, 1, 4),
    "reset": (2, 0.1, 1),
    "refused": (1, 0.3, 3),
    "half open": (2, 0.5, 3),
    "stalled": (2, 0.5, 5),
    "replies stalled": (2, 0.5, 5),
    "cut after": (2, 0.5, 3),
    "replies lost": (3, 0.5, 3),
    "server refuses": (1, 1, 3),
    "server slow": (1, 1, 3),
    "disk full": (1, 1, 3),
}
#: The same for Redis.
REDIS_FAULTS = {
    "clients killed": (3, 0, 0),
    "scripts flushed": (2, 0, 0),
    "read only": (2, 0.3, 3),
    "power cut": (2, 0.2, 2),
    "restarted": (1, 0, 0),
    "stands still": (2, 0.3, 4),
}
#: Tasks a second between bursts, and seconds between faults on one worker and on Redis.
_RATE, _WORKER_PAUSE_S, _REDIS_PAUSE_S = 8.0, 3.0, 6.0
_SKEWS_S = (0.0, 0.0, 3_600.0, -3_600.0, 2.0)
#: The beginning without faults, in seconds: workers have to start before they can be troubled.
QUIET_S = 1.0


def make(seed: int, duration_s: float, workers: int) -> Plan:
    """The plan of this seed."""
    # One source of chance for each part: a change in one leaves the others as they were.
    tasks = _load(random.Random(f"{seed} load"), duration_s)
    faults = [*_faults(random.Random(f"{seed} {REDIS}"), REDIS, REDIS_FAULTS, _REDIS_PAUSE_S, duration_s)]
    for number in range(workers):
        rng = random.Random(f"{seed} worker {number}")
        faults += _faults(rng, str(number), WORKER_FAULTS, _WORKER_PAUSE_S, duration_s)
    rng = random.Random(f"{seed} clocks")
    return Plan(
        seed,
        duration_s,
        workers,
        tuple(sorted(tasks, key=lambda task: task.at_s)),
        tuple(sorted(faults, key=lambda fault: fault.at_s)),
        tuple(rng.choice(_SKEWS_S) for _ in range(workers)),
    )


def as_text(plan: Plan) -> str:
    """The plan, a line for each thing it does, for comparison."""
    return "\n".join(json.dumps(vars(each), sort_keys=True) for each in (*plan.tasks, *plan.faults))


def _load(rng: random.Random, duration_s: float) -> Iterable[PlannedTask]:
    at_s = rng.expovariate(_RATE)
    while at_s < duration_s:
        yield _task(rng, at_s, _pick(rng, {name: kind.weight for name, kind in BEHAVIOURS.items()}))
        at_s += rng.expovariate(_RATE)
    for _ in range(max(1, round(duration_s / 10))):
        burst_s = rng.uniform(0, duration_s)
        for _ in range(rng.randrange(30, 120)):
            yield _task(rng, burst_s, "short")


def _task(rng: random.Random, at_s: float, behaviour: str) -> PlannedTask:
    kind = BEHAVIOURS[behaviour]
    return PlannedTask(
        at_s=round(at_s, 4),
        task_id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        queue=rng.choice(list(SUB_QUEUES)),
        behaviour=behaviour,
        payload=kind.payload(rng),
        retry=kind.retry,
        must=kind.must,
        timeout_s=kind.timeout_s,
        delay_s=round(rng.uniform(0, kind.most_delay_s), 3),
        unique=kind.unique,
    )


def _faults(
    rng: random.Random,
    target: str,
    kinds: Mapping[str, tuple[float, float, float]],
    pause_s: float,
    until_s: float,
) -> Iterable[PlannedFault]:
    """One after the other: a target has one trouble at a time, the targets have theirs together."""
    at_s = QUIET_S + rng.expovariate(1 / pause_s)
    while at_s < until_s:
        kind = _pick(rng, {name: weight for name, (weight, _, _) in kinds.items()})
        _, least_s, most_s = kinds[kind]
        for_s = min(rng.uniform(least_s, most_s), until_s - at_s)
        yield PlannedFault(round(at_s, 3), round(for_s, 3), kind, target, _parameters(rng, kind))
        at_s += for_s + 0.2 + rng.expovariate(1 / pause_s)


def _parameters(rng: random.Random, kind: str) -> dict[str, float]:
    ranges: Mapping[str, Mapping[str, tuple[float, float]]] = {
        "latency": {"delay_s": (0.005, 0.3)},
        "jitter": {"most_s": (0.01, 0.4)},
        "bandwidth": {"bytes_per_s": (5_000, 100_000)},
        "cut after": {"count": (1, 5_000)},
        "replies lost": {"chance": (0.05, 0.5)},
        "server slow": {"delay_s": (0.1, 1.0)},
    }
    return {name: round(rng.uniform(*limits), 3) for name, limits in ranges.get(kind, {}).items()}


def _pick(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
