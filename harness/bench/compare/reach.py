"""What the worker has to reach, as ratios to the peers of the same run and as limits. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.bench.rig.common import CONCURRENCIES
from harness.bench.rig.figures import OURS, PIPE, Figures

#: What a goal is about, from the figures and the names of the peers; None where a run did not measure it.
Measure = Callable[[Figures, Sequence[str]], float | None]


@dataclass(frozen=True)
class Goal:
    """A figure and its bound; ``at_least`` says which side of it is good."""

    text: str
    bound: float
    at_least: bool
    measure: Measure

    def holds(self, measured: float) -> bool:
        """Whether ``measured`` is on the good side, or on the bound."""
        return measured >= self.bound if self.at_least else measured <= self.bound


@dataclass(frozen=True)
class GoalResult:
    """A goal and its result; ``measured`` None where a run did not measure it."""

    goal: Goal
    measured: float | None

    @property
    def holds(self) -> bool | None:
        """None where it is unknown."""
        return None if self.measured is None else self.goal.holds(self.measured)


def judge(figures: Figures, peers: Sequence[str]) -> list[GoalResult]:
    """Every goal; ``peers`` are the names of those that were measured."""
    return [GoalResult(goal, goal.measure(figures, peers)) for goal in GOALS]


def _against_peers(concurrency: int, peers_at: Sequence[int]) -> Measure:
    def measure(figures: Figures, peers: Sequence[str]) -> float | None:
        best = figures.best("tasks/s", peers, peers_at)
        return _ratio(figures.median(OURS, "tasks/s", concurrency), best.median if best else None)

    return measure


def _against_pipe(concurrency: int, in_flight: int) -> Measure:
    return lambda figures, _: _ratio(
        figures.median(OURS, "tasks/s", concurrency), figures.median(PIPE, "tasks/s", in_flight)
    )


def _ours(what: str, at: int | None = None) -> Measure:
    return lambda figures, _: figures.median(OURS, what, at)


def _deep_to_shallow(figures: Figures, _: Sequence[str]) -> float | None:
    return _ratio(figures.median(OURS, "µs/task, many pending"), figures.median(OURS, "µs/task, few pending"))


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


GOALS = (
    Goal("concurrency 1, tasks/s ÷ best peer at concurrency 1", 2.5, True, _against_peers(1, (1,))),
    Goal("concurrency 8, tasks/s ÷ best peer's best", 5, True, _against_peers(8, CONCURRENCIES)),
    Goal("concurrency 32, tasks/s ÷ best peer's best", 7, True, _against_peers(32, CONCURRENCIES)),
    Goal(
        "concurrency 32, tasks/s ÷ the task process's own limit (50 in flight)",
        0.25,
        True,
        _against_pipe(32, 50),
    ),
    Goal("idle start latency p50, ms", 1.5, False, _ours("start p50, ms")),
    Goal("idle start latency p99, ms", 5, False, _ours("start p99, ms")),
    Goal("Redis round trips per task at concurrency 1", 1.1, False, _ours("round trips/task", 1)),
    Goal("Redis round trips per task at concurrency 32", 0.2, False, _ours("round trips/task", 32)),
    Goal("commands per second of an idle worker with one sub-queue", 2, False, _ours("idle commands/s")),
    Goal(
        "commands caused by one task with 100 idle workers",
        30,
        False,
        _ours("commands in a crowd"),
    ),
    Goal("worker memory (RSS) after all tasks, MB", 60, False, _ours("RSS, MB")),
    Goal("growth of it over the second half, MB", 1, False, _ours("RSS growth, MB")),
    Goal("cost per task with very many pending ÷ with 1,000", 1.1, False, _deep_to_shallow),
)
