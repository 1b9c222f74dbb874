"""The tables: the same for the terminal and for ``docs/benchmarks.md``. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.bench.compare import reach
from harness.bench.compare.plan import Plan
from harness.bench.rig.common import CONCURRENCIES, WARM_RESULTS
from harness.bench.rig.figures import OURS, PIPE, Figures
from harness.bench.rig.tables import NONE, number, rate, table


@dataclass(frozen=True)
class Run:
    """A run and what was around it. ``failures`` are figures that did not come about, and why."""

    date: str
    command: str
    plan: Plan
    figures: Figures
    peers: Sequence[str]
    hows: Mapping[str, str]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    failures: Sequence[str]
    took_s: float


def markdown(run: Run) -> str:
    """The whole page."""
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Made by `make bench`; do not edit. All figures are of one run, on one machine, with one private",
            "Redis (those of many workers, from `make bench-scale`, of another run). Compare ratios:",
            "the figures themselves depend on the machine.",
            "",
            *(f"- {name}: {fact}" for name, fact in _facts(run).items()),
            "",
            tables(run),
            "",
            "## How it is measured",
            "",
            *_method(run.plan),
            "",
            "Configurations, and what is installed with them:",
            "",
            *(f"- **{name}**: {how}{_version(run, name)}" for name, how in run.hows.items()),
            "",
        ]
    )


def tables(run: Run) -> str:
    """The tables alone, in Markdown that can be read as it is."""
    parts = [
        ("## Goals", _goals(run)),
        ("## Throughput", _throughput(run)),
        ("## An idle worker, and its memory", _standing(run)),
        ("## The task process at work", _at_work(run)),
        ("## Our worker's limits", _limits(run)),
    ]
    if run.failures:
        parts.append(("## Not measured", [f"- {failure}" for failure in run.failures]))
    return "\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in parts)


def _goals(run: Run) -> list[str]:
    words = {True: "yes", False: "**no**", None: "not measured"}
    rows = [
        [
            result.goal.text,
            f"{'≥' if result.goal.at_least else '≤'} {result.goal.bound:g}",
            number(result.measured),
            words[result.holds],
        ]
        for result in reach.judge(run.figures, run.peers)
    ]
    return table(["figure", "goal", "measured", "holds"], rows)


def _throughput(run: Run) -> list[str]:
    best = run.figures.best("tasks/s", run.peers, CONCURRENCIES)
    rows = []
    for who, at in [(who, at) for who in (OURS, *run.peers) for at in CONCURRENCIES]:
        found = run.figures.get(who, "tasks/s", at)
        if found is not None:
            ratio = found.median / best.median if best else None
            commands = run.figures.median(who, "commands/task", at)
            trips = run.figures.median(who, "round trips/task", at)
            rows.append([who, str(at), *rate(found), number(ratio), number(commands), number(trips)])
    for in_flight in (1, 50):
        found = run.figures.get(PIPE, "tasks/s", in_flight)
        if found is not None:
            rows.append([PIPE, f"{in_flight} in flight", *rate(found), NONE, NONE, NONE])
    heads = ["worker", "concurrency", "tasks/s", "lowest … highest", "÷ best peer's best"]
    return table([*heads, "Redis commands/task", "round trips/task"], rows)


def _standing(run: Run) -> list[str]:
    whats = ["start p50, ms", "start p95, ms", "start p99, ms"]
    whats += ["idle commands/s", "with scripts'", "idle CPU, %"]
    whats += ["RSS, MB", "PSS, MB", "RSS growth, MB", "after tasks"]
    rows = [[who, *(number(run.figures.median(who, what)) for what in whats)] for who in (OURS, *run.peers)]
    return table(["worker", *whats], rows)


def utilisation(round_trip_ms: int) -> str:
    """The name of that figure, whose ``at`` is the length of the tasks in milliseconds."""
    return f"utilisation at {round_trip_ms} ms"


def _at_work(run: Run) -> list[str]:
    plan = run.plan
    rows = [
        [
            f"{length_ms} ms",
            *(
                NONE if share is None else f"{share:.3f}"
                for share in (
                    run.figures.median(OURS, utilisation(round_trip_ms), length_ms)
                    for round_trip_ms in plan.round_trips_ms
                )
            ),
        ]
        for length_ms in plan.lengths_ms
    ]
    return table(
        ["utilisation by task length and round trip", *(f"{ms} ms" for ms in plan.round_trips_ms)], rows
    )


def _limits(run: Run) -> list[str]:
    few, many = (f"{pending:,}" for pending in run.plan.pending)
    rows = [
        [f"time per task, {few} pending, µs", "µs/task, few pending"],
        [f"time per task, {many} pending, µs", "µs/task, many pending"],
        [f"CPU of worker and Redis per task, {few} pending, µs", "CPU µs/task, few pending"],
        [f"CPU of worker and Redis per task, {many} pending, µs", "CPU µs/task, many pending"],
        [f"commands of one task, {run.plan.crowd} idle workers", "commands in a crowd"],
    ]
    return table(
        ["figure", "measured"], [[text, number(run.figures.median(OURS, what))] for text, what in rows]
    )


def _method(plan: Plan) -> list[str]:
    text = f"""
- One process of each worker, on a Redis that was emptied before. The task returns the time at which
  it began, and its result is stored in Redis. Peers are enqueued to and asked by their own clients.
- Throughput: all tasks wait before the worker starts, the clock runs from result {WARM_RESULTS} to the last,
  median of {plan.repetitions}; repetitions go round all workers, so that a busy moment of the machine does
  not hit one of them alone.
- Redis commands are those that Redis ran, inside scripts too; round trips are how often it read from
  the worker (`total_commands_processed` and `total_reads_processed`), without our own looks.
- Start latency: {plan.latencies} single tasks with random pauses, to an idle worker with one slot, from just
  before the client sends a task to the time the task says it began.
- Idle: {plan.idle_s:g} s after that, without a task: commands the worker sends, then with those that run
  inside scripts; CPU in per cent of one core.
- Memory: after {plan.memory_of_ours:,} of our tasks and {plan.memory_of_peers:,} of the peers, in millions
  of bytes, concurrency 8 where there is one; growth is over the second half of them. Ours is the worker
  without the task process; a peer holds the task code itself, and all its processes are counted.
- The task process at work: one slot, a backlog of tasks that sleep, and a proxy that makes the round trip to
  Redis so much longer. Of the time from the first begin to the last, the part in which a task ran, by the
  task process's own clock.
- The task process alone: the same program, fed by plain Python through its pipes, without Redis.
"""
    return text.strip().splitlines()


def _facts(run: Run) -> dict[str, str]:
    return {
        "date": run.date,
        "command": f"`{run.command}`",
        "took": f"{run.took_s / 60:.0f} minutes",
        **run.machine,
    }


def _version(run: Run, name: str) -> str:
    return f" ({run.versions[name]})" if name in run.versions else ""
