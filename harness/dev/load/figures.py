"""What a load run measured, and the arithmetic on it. Pure; seconds count from the first task sent."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.bench.rig.stats import percentile

PERCENTS = (50.0, 90.0, 95.0, 99.0)
#: What part of the asked rate has to be sent.
_ENOUGH = 0.95
#: Of a run's samples, the part at either end that is compared to see whether memory grows.
_PART = 0.25
#: By how much, as a part and in bytes, memory has to grow to be worth a word.
_GROWTH, _GROWTH_BYTES = 0.1, 20 << 20
#: Seconds of work at the asked rate that may wait when sending ends, of a load that is kept up with.
_SLACK_S = 1.0


@dataclass(frozen=True)
class Run:
    """One task that is over: ``run_s`` is how long its last run took, ``outcome`` its log event's name."""

    sent_s: float
    ended_s: float
    run_s: float
    outcome: str
    attempts: int = 1

    @property
    def wait_s(self) -> float:
        """From being sent until that run began; negative by what clocks are read late is nothing."""
        return max(0.0, self.ended_s - self.sent_s - self.run_s)

    @property
    def total_s(self) -> float:
        """From being sent until its end."""
        return self.ended_s - self.sent_s


@dataclass(frozen=True)
class Sample:
    """A look at the machine. ``memory_bytes`` has each worker with its processes; so many tasks wait."""

    at_s: float
    memory_bytes: Sequence[int]
    waiting: int
    cpu_percent: float


@dataclass(frozen=True)
class Asked:
    """The load as it was asked for, and what it was put on."""

    rate: float
    duration_s: float
    workers: int
    concurrency: int
    mode: str
    cores: int

    @property
    def slots(self) -> int:
        """Tasks that may run at a time."""
        return self.workers * self.concurrency


@dataclass(frozen=True)
class Measured:
    """Everything. ``sending_s`` is when the last task was sent; ``one_at_a_time``: so the worker says."""

    asked: Asked
    sent: int
    sending_s: float
    runs: Sequence[Run]
    samples: Sequence[Sample]
    retries: int = 0
    crashes: int = 0
    one_at_a_time: bool = False
    problems: Sequence[str] = field(default_factory=tuple)

    @property
    def completed(self) -> Sequence[Run]:
        """Those that ended well; times are theirs."""
        return [run for run in self.runs if run.outcome == "task.completed"]

    @property
    def failed(self) -> int:
        """Tasks that failed for good."""
        return len(self.runs) - len(self.completed)

    @property
    def unfinished(self) -> int:
        """Tasks that were not over when it was waited for no longer."""
        return self.sent - len(self.runs)

    @property
    def sent_per_s(self) -> float:
        """The rate that was reached."""
        return self.sent / max(self.sending_s, 1 / self.asked.rate)

    @property
    def sent_as_asked(self) -> bool:
        """Whether that is the rate that was asked for."""
        return self.sent_per_s >= _ENOUGH * self.asked.rate

    @property
    def done_per_s(self) -> float:
        """Tasks that ended a second, until the last of them."""
        last_s = max((run.ended_s for run in self.runs), default=0.0)
        return len(self.runs) / max(last_s, self.sending_s) if self.runs else 0.0

    @property
    def left(self) -> int:
        """Tasks that were not over when the last one had been sent."""
        return self.sent - sum(run.ended_s <= self.sending_s for run in self.runs)

    @property
    def kept_up(self) -> bool:
        """Whether no more waited at the end of the sending than what is under way anyway."""
        return self.left <= self.asked.slots + max(self.sent_per_s * (self.mean_run_s + _SLACK_S), 2)

    @property
    def mean_run_s(self) -> float:
        """Of all that are over, since a failing one needs its slot as well; 0 without any."""
        return statistics.fmean(run.run_s for run in self.runs) if self.runs else 0.0

    @property
    def busy(self) -> float:
        """What part of the slots' time tasks ran in, while tasks were sent."""
        end_s = self.sending_s
        in_time = sum(
            max(0.0, min(run.ended_s, end_s) - max(0.0, run.ended_s - run.run_s)) for run in self.runs
        )
        return min(1.0, in_time / (self.asked.slots * end_s)) if end_s > 0 else 0.0

    @property
    def peak_bytes(self) -> int:
        """The most memory that one worker with its processes had."""
        return max((each for sample in self.samples for each in sample.memory_bytes), default=0)

    @property
    def growth_bytes(self) -> int:
        """By how much all workers' memory grew from the first part of the run to the last; 0 for hardly."""
        totals = [sum(sample.memory_bytes) for sample in self.samples if sample.at_s >= 0]
        part = int(len(totals) * _PART)
        if part < 1:
            return 0
        before, after = statistics.fmean(totals[:part]), statistics.fmean(totals[-part:])
        grown = after - before
        return int(grown) if grown > _GROWTH_BYTES and grown > before * _GROWTH else 0

    @property
    def cpu_percent(self) -> float:
        """Of the whole machine, on average."""
        # The first sample is about no time at all.
        seen = [sample.cpu_percent for sample in self.samples[1:]]
        return statistics.fmean(seen) if seen else 0.0

    def times(self) -> Mapping[str, Mapping[str, float]]:
        """Seconds of wait, run and both: mean, percentiles and the most; empty without a completed task."""
        runs = self.completed
        if not runs:
            return {}
        kinds = {
            "wait": [run.wait_s for run in runs],
            "run": [run.run_s for run in runs],
            "total": [run.total_s for run in runs],
        }
        return {
            kind: {
                "mean": statistics.fmean(values),
                **{f"p{percent:g}": percentile(values, percent) for percent in PERCENTS},
                "max": max(values),
            }
            for kind, values in kinds.items()
        }

    def as_json(self) -> dict[str, Any]:
        """For ``--json``: seconds, bytes, tasks, per cent."""
        asked = self.asked
        return {
            "asked": {
                "rate": asked.rate,
                "duration_s": asked.duration_s,
                "workers": asked.workers,
                "concurrency": asked.concurrency,
            },
            "sent": self.sent,
            "sent_per_s": self.sent_per_s,
            "completed": len(self.completed),
            "failed": self.failed,
            "unfinished": self.unfinished,
            "retries": self.retries,
            "crashes": self.crashes,
            "done_per_s": self.done_per_s,
            "kept_up": self.kept_up,
            "busy": self.busy,
            "seconds": self.times(),
            "memory_peak_bytes": self.peak_bytes,
            "memory_growth_bytes": self.growth_bytes,
            "cpu_percent": self.cpu_percent,
            "samples": [
                {"at_s": each.at_s, "memory_bytes": list(each.memory_bytes), "waiting": each.waiting}
                for each in self.samples
            ],
        }
