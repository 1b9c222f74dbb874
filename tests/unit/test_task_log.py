"""One line for each task that ended; where too many end, a summary says what was left out."""

import math

import pytest
from structlog.testing import capture_logs

from appliance.dispatch.task_log import BURST, LINES_PER_S, NOT_NEEDED, SUMMARY_EVERY_S, TaskLog
from appliance.process.outcome import Crashed, Failed, Outcome, Returned, Succeeded, TimedOut
from tests.clock import HandClock
from tests.unit.dispatching import HIGH, POLICY, task

OK = Succeeded(b"1")


class World:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.log = TaskLog(self.clock)

    def end(self, outcome: Outcome = OK, run_s: float | None = 0.25) -> None:
        self.log.ended(POLICY.settle(task("t1", attempt=2), outcome, 0), outcome, run_s)


@pytest.fixture
def world() -> World:
    return World()


def test_a_task_that_ended_is_one_line_with_queue_attempt_and_duration(world: World) -> None:
    with capture_logs() as lines:
        world.end()

    assert lines == [
        {
            "event": "task.completed",
            "log_level": "info",
            "task_id": "t1",
            "queue": HIGH,
            "attempt": "2",
            "run_s": 0.25,
        }
    ]


@pytest.mark.parametrize(
    ("outcome", "event", "level", "more"),
    [
        (Failed("Traceback\nValueError: x", retry=True), "task.retry", "warning", {"error": "ValueError: x"}),
        (Failed("no", retry=False), "task.archived", "warning", {"error": "no"}),
        (TimedOut("timeout: 3 s\n  File a"), "task.retry", "warning", {"error": "timeout: 3 s"}),
        (Crashed("SIGSEGV"), "task.retry", "warning", {"retried": 1}),
        (Returned("the worker stops"), "task.returned", "info", {"reason": "the worker stops"}),
        (Returned(NOT_NEEDED), "task.returned", "debug", {}),
    ],
)
def test_what_became_of_it_is_said_at_the_level_it_deserves(
    world: World, outcome: Outcome, event: str, level: str, more: dict[str, object]
) -> None:
    with capture_logs() as lines:
        world.end(outcome)

    assert [(line["event"], line["log_level"]) for line in lines] == [(event, level)]
    assert more.items() <= lines[0].items()


def test_above_a_rate_lines_are_left_out_and_counted_in_a_summary(world: World) -> None:
    with capture_logs() as lines:
        for _ in range(1_000):
            world.end(run_s=0.5)
        world.end(run_s=3.0)
    levels = [line["log_level"] for line in lines]
    assert levels == ["info"] * BURST + ["debug"] * (1_001 - BURST)
    assert world.log.next_look_s(world.clock.now_s) == SUMMARY_EVERY_S

    world.clock.now_s += SUMMARY_EVERY_S
    with capture_logs() as lines:
        world.log.summarise(world.clock.now_s)
        world.log.summarise(world.clock.now_s)

    (summary,) = lines
    assert (summary["event"], summary["log_level"]) == ("task.summary", "info")
    assert summary["lines_left_out"] == summary["completed"] == 1_001 - BURST
    assert summary["seconds"] == SUMMARY_EVERY_S
    assert summary["longest_run_s"] == 3.0
    assert 0.5 < summary["mean_run_s"] < 0.51
    assert world.log.next_look_s(world.clock.now_s) is None


def test_after_a_while_there_are_lines_again(world: World) -> None:
    for _ in range(2 * BURST):
        world.end()
    world.clock.now_s += 2 / LINES_PER_S

    with capture_logs() as lines:
        for _ in range(3):
            world.end()

    assert [line["log_level"] for line in lines] == ["info", "info", "debug"]


def test_failures_are_not_left_out_because_many_tasks_succeed(world: World) -> None:
    for _ in range(2 * BURST):
        world.end()

    with capture_logs() as lines:
        world.end(Crashed("SIGSEGV"))

    assert [line["log_level"] for line in lines] == ["warning"]


def test_at_the_end_what_was_left_out_is_said_at_once(world: World) -> None:
    for _ in range(2 * BURST):
        world.end()
    with capture_logs() as lines:
        world.log.summarise(math.inf)
    assert [line["event"] for line in lines] == ["task.summary"]
