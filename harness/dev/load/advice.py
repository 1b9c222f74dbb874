"""How many workers, with how many slots each, a load wants by what was measured of it. Pure.

By Little's law, a rate times the mean run is how many tasks run at a time. More slots than that are needed,
so that a task that comes finds one free: with :data:`TARGET` of their time in use waits stay of the order of
a run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.dev.load.figures import Measured

#: The part of the slots' time that may be in use.
TARGET = 0.7
#: From which use of the machine's processors on the figures are those of the machine, in per cent.
_CPU_FULL = 90.0
_MIB = 1 << 20


@dataclass(frozen=True)
class Advice:
    """So many workers with so many slots; ``reasons`` say why, a sentence each."""

    workers: int
    concurrency: int
    reasons: Sequence[str]


def advise(measured: Measured) -> Advice | None:
    """What the asked rate wants; None where no task was completed."""
    asked, run_s = measured.asked, measured.mean_run_s
    if not measured.completed:
        return None
    at_a_time = asked.rate * run_s
    slots = max(1, math.ceil(at_a_time / TARGET))
    reasons = [
        f"{asked.rate:g} tasks a second that run for {_time(run_s)} are {at_a_time:.2g} at a time; "
        f"with {TARGET:.0%} of the time in use that takes {slots} slot{'' if slots == 1 else 's'}"
    ]
    workers, concurrency = _split(measured, slots, reasons)
    reasons.append(
        f"a worker with its processes had {measured.peak_bytes / _MIB:.0f} MiB at most"
        + (f", {workers} of them {measured.peak_bytes * workers / _MIB:,.0f} MiB" if workers > 1 else "")
    )
    if measured.cpu_percent >= _CPU_FULL:
        reasons.append(
            f"this machine's {asked.cores} processors were in use at {measured.cpu_percent:.0f} %: where "
            "there are more, runs are shorter and fewer slots will do"
        )
    return Advice(workers, concurrency, reasons)


def _split(measured: Measured, slots: int, reasons: list[str]) -> tuple[int, int]:
    asked = measured.asked
    if asked.mode == "one_shot":
        concurrency = min(slots, asked.cores)
        reasons.append(
            "each task has a process: slots of one worker are worth as much as workers, up to the cores"
        )
        return math.ceil(slots / concurrency), concurrency
    if measured.one_at_a_time:
        reasons.append("the code works on one task after the other: more slots in a worker gain nothing")
        return slots, 1
    if asked.concurrency == 1:
        if slots > 1:
            reasons.append(
                "one slot each, as measured: the SDK's run() works on one task at a time; if your code works "
                f"on several, measure it with --concurrency {slots}"
            )
        return slots, 1
    workers = math.ceil(slots / asked.concurrency)
    reasons.append(
        f"the code works on several tasks at a time, up to the {asked.concurrency} that were measured"
    )
    return workers, math.ceil(slots / workers)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
