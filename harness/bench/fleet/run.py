"""``runqy-harness fleet``: measures what workers and tasks cost Redis, and says what a thousand would."""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import redis

from harness import wait
from harness.bench.fleet import costs as fleet
from harness.bench.fleet.costs import Cost, Costs
from harness.bench.rig import crowd
from harness.bench.rig.ours import Ours
from harness.bench.rig.room import room
from harness.bench.rig.tables import table
from harness.sandbox.redis import RedisServer
from harness.sandbox.stack import WORKER_COMMAND

#: The fleets that are listed.
WORKERS, RATES = (10, 100, 1_000), (0.0, 100.0, 1_000.0, 5_000.0, 10_000.0)
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class FleetOptions:
    """So many idle workers for ``window_s``, then ``lone`` tasks one by one, then ``queued`` at once."""

    workers: int = 20
    window_s: float = 20.0
    lone: int = 200
    queued: int = 20_000
    concurrency: int = 8
    worker_command: Sequence[str] = WORKER_COMMAND


@dataclass(frozen=True)
class Counters:
    """What Redis has counted by ``at_s`` (monotonic)."""

    at_s: float
    commands: float
    redis_us: float
    bytes: float


@dataclass(frozen=True)
class Measured:
    """The costs, and how a prediction from them compares with what was seen (``checked``: name → both)."""

    costs: Costs
    checked: dict[str, tuple[float, float]]


def measure(server: RedisServer, folder: Path, options: FleetOptions) -> Measured:
    """Measure on an empty Redis of one's own."""
    with (
        contextlib.closing(server.client()) as db,
        Ours(server, folder, options.worker_command) as ours,
        crowd.idle_workers(ours, db, options.workers, options.concurrency),
    ):
        clients: Any = db.info("clients")
        connections = (clients["connected_clients"] - 1) / options.workers
        idle = _per(_window(db, options.window_s), options.workers * options.window_s)
        lone = _lone(ours, db, options, idle)
        queued = _queued(ours, db, options, idle)
        costs = Costs(idle, lone, queued, connections)
        return Measured(costs, _check(ours, db, options, costs))


def _lone(ours: Ours, db: redis.Redis, options: FleetOptions, idle: Cost) -> Cost:
    pause_s = options.window_s / options.lone

    def one_by_one() -> None:
        for _ in range(options.lone):
            ours.one()
            time.sleep(pause_s)

    return _above(_during(ours, db, one_by_one, options.lone), idle, options.workers, options.lone)


def _queued(ours: Ours, db: redis.Redis, options: FleetOptions, idle: Cost) -> Cost:
    seen = _during(ours, db, lambda: ours.enqueue_at_once(options.queued), options.queued)
    return _above(seen, idle, options.workers, options.queued)


def _check(
    ours: Ours, db: redis.Redis, options: FleetOptions, costs: Costs
) -> dict[str, tuple[float, float]]:
    """A load that was not measured so far, tasks in handfuls: what was predicted, and what was seen."""
    handfuls, handful = options.lone // 5, 10

    def in_handfuls() -> None:
        for _ in range(handfuls):
            ours.enqueue_at_once(handful)
            time.sleep(options.window_s / handfuls)

    seen = _during(ours, db, in_handfuls, handfuls * handful)
    rate = handfuls * handful / seen.at_s
    least = fleet.load(costs, options.workers, rate, lone=False)
    most = fleet.load(costs, options.workers, rate, lone=True)
    return {
        "commands a second, at least": (least.commands, seen.commands / seen.at_s),
        "commands a second, at most": (most.commands, seen.commands / seen.at_s),
        "CPU of Redis in %, at least": (100 * least.redis_cores, seen.redis_us / seen.at_s / 1e4),
        "CPU of Redis in %, at most": (100 * most.redis_cores, seen.redis_us / seen.at_s / 1e4),
    }


def _during(ours: Ours, db: redis.Redis, send: Callable[[], None], tasks: int) -> Counters:
    """What was counted from before ``send`` until all its tasks were done; ``at_s`` is how long that took."""
    done, before = ours.done(), _read(db)
    send()
    wait.until(lambda: ours.done() >= done + tasks, _PATIENCE_S, f"{tasks} tasks to be done")
    return _difference(before, _read(db))


def _window(db: redis.Redis, seconds: float) -> Counters:
    before = _read(db)
    time.sleep(seconds)
    return _difference(before, _read(db))


def _read(db: redis.Redis) -> Counters:
    info: Any = db.info()
    cpu_s = info["used_cpu_sys"] + info["used_cpu_user"]
    traffic = info["total_net_input_bytes"] + info["total_net_output_bytes"]
    return Counters(time.monotonic(), info["total_commands_processed"], cpu_s * 1e6, traffic)


def _difference(before: Counters, after: Counters) -> Counters:
    return Counters(
        after.at_s - before.at_s,
        after.commands - before.commands,
        after.redis_us - before.redis_us,
        after.bytes - before.bytes,
    )


def _per(seen: Counters, count: float) -> Cost:
    return Cost(seen.commands / count, seen.redis_us / count, seen.bytes / count)


def _above(seen: Counters, idle: Cost, workers: int, tasks: int) -> Cost:
    """A task's part: what was counted above what the workers cost by being there."""
    rest = workers * seen.at_s
    return Cost(
        max(0.0, seen.commands - idle.commands * rest) / tasks,
        max(0.0, seen.redis_us - idle.redis_us * rest) / tasks,
        max(0.0, seen.bytes - idle.bytes * rest) / tasks,
    )


def run(out: TextIO, options: FleetOptions, json_to: Path | None) -> int:
    """Measure and print. Raises :class:`~harness.failure.CommandFailed` where that cannot be done."""
    with room() as place:
        measured = measure(place.server, place.folder / "ours", options)
    out.write("\n".join(told(measured)) + "\n")
    if json_to is not None:
        date = datetime.now(UTC).date().isoformat()
        document = {"date": date, "machine": dict(place.machine), **asdict(measured)}
        json_to.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 0


def told(measured: Measured) -> list[str]:
    """The tables, in Markdown that can be read as it is."""
    costs = measured.costs
    kinds = {
        "an idle worker, each second": costs.idle,
        "a task that comes while workers wait": costs.lone,
        "a task that has queued up": costs.queued,
    }
    rows = [[name, *_cells(cost)] for name, cost in kinds.items()]
    lines = table(["cost", "commands, with scripts'", "CPU of Redis, µs", "bytes"], rows)
    fleet_heads = ["workers", "tasks/s", "CPU of Redis", "commands/s", "network/s", "connections"]
    lines += ["", *table(fleet_heads, fleet.table(costs, WORKERS, RATES)), ""]
    for count in WORKERS:
        low, high = (fleet.most_tasks_per_s(costs, count, lone=lone) for lone in (True, False))
        lines.append(
            f"- {count:,} workers: Redis is {fleet.FULL:.0%} busy at {low:,.0f} to {high:,.0f} tasks/s."
        )
    lines += [
        "",
        *table(
            ["checked", "predicted", "seen"],
            [
                [name, f"{predicted:,.1f}", f"{seen:,.1f}"]
                for name, (predicted, seen) in measured.checked.items()
            ],
        ),
    ]
    return lines


def _cells(cost: Cost) -> list[str]:
    return [f"{cost.commands:,.1f}", f"{cost.redis_us:,.0f}", f"{cost.bytes:,.0f}"]
