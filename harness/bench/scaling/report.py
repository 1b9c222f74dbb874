"""The section on many workers of ``docs/benchmarks.md``. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.bench.rig.common import WARM_RESULTS
from harness.bench.rig.figures import OURS, Figures
from harness.bench.rig.page import MANY_WORKERS
from harness.bench.rig.tables import NONE, number, rate, table
from harness.bench.scaling.plan import ScalePlan

#: Per cent of what there is from which on it counts as used up.
_USED_UP = 90.0
_CPU_OF_OURS = ("CPU of Redis, %", "CPU of workers, %", "CPU of task processes, %")
_MACHINE = "CPU of the machine, %"


@dataclass(frozen=True)
class ScaleRun:
    """A run and what was around it. ``failures`` are figures that did not come about, and why."""

    date: str
    command: str
    plan: ScalePlan
    figures: Figures
    machine: Mapping[str, str]
    cores: int
    failures: Sequence[str]
    took_s: float


def section(run: ScaleRun) -> str:
    """The section, with its heading, in Markdown that can be read as it is."""
    plan = run.plan
    facts = {"date": run.date, "command": f"`{run.command}`", "took": f"{run.took_s:.0f} s", **run.machine}
    lines = [
        MANY_WORKERS,
        "",
        "Several of our workers on one queue, they and Redis on one machine. Made by `make bench-scale`,",
        "which also writes [all figures, repetition by repetition](many-workers.json).",
        "",
        *(f"- {name}: {fact}" for name, fact in facts.items()),
        "",
        *_table(run),
        "",
        *_limits(run),
        *[f"- Not measured: {failure}" for failure in run.failures],
        "",
        *_method(plan),
        "",
    ]
    return "\n".join(lines)


def _method(plan: ScalePlan) -> list[str]:
    most = plan.workers[-1]
    text = f"""
- Each worker has {plan.concurrency} slots and brings {plan.tasks_each:,} tasks:
  {most} workers share {most * plan.tasks_each:,}.
- All workers wait idle when all tasks appear in the queue, at one instant. The clock runs from result
  {WARM_RESULTS} a worker to the last; values are medians of {plan.repetitions}.
- CPU is in per cent of one core; that of the machine is everybody's.
- Takes are above 1 where a worker fetched tasks ahead and handed them back, uncharged and not begun.
- After each measurement every task has to be completed without a retry and counted once, with nothing
  left over: else there is no figure.
"""
    return text.strip().splitlines()


def _table(run: ScaleRun) -> list[str]:
    one = run.figures.median(OURS, "tasks/s", 1)
    whats = (*_CPU_OF_OURS, _MACHINE, "commands/task", "round trips/task", "takes/task")
    rows = []
    for workers in run.plan.workers:
        found = run.figures.get(OURS, "tasks/s", workers)
        if found is None:
            rows.append([str(workers), *[NONE] * (3 + len(whats))])
            continue
        others = (number(run.figures.median(OURS, what, workers)) for what in whats)
        rows.append([str(workers), *rate(found), number(found.median / one if one else None), *others])
    heads = ["tasks/s", "lowest … highest", "÷ 1 worker", *whats]
    return table(["workers", *heads], rows)


def _limits(run: ScaleRun) -> list[str]:
    """For each number of workers, what kept it from being faster, as far as these figures show."""
    return [f"- {workers}: {limit}" for workers in run.plan.workers if (limit := _limit(run, workers))]


def _limit(run: ScaleRun, workers: int) -> str:
    ours = [run.figures.median(OURS, what, workers) for what in _CPU_OF_OURS]
    everybody = run.figures.median(OURS, _MACHINE, workers)
    redis, own = ours[0], sum(each for each in ours if each is not None)
    if redis is None or everybody is None:
        return ""
    all_of_it = 100.0 * run.cores
    if everybody >= _USED_UP / 100 * all_of_it:
        share = f"{own:.0f} of {all_of_it:.0f} % were ours"
        return f"the limit was the machine: its {run.cores} cores were used up ({share})."
    if redis >= _USED_UP:
        return "the limit was Redis: it does everything in one thread, and its core was used up."
    if workers == 1:
        return "the limit was the worker: it and its task process take turns, each in one thread."
    return f"neither Redis nor the machine was used up ({everybody:.0f} of {all_of_it:.0f} %)."
