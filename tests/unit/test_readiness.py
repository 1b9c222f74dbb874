"""What makes a worker ready and live: reports in, reasons out."""

from dataclasses import replace

import pytest

from appliance.observe.pulse import STUCK_AFTER_S, Pulse, Pulses
from appliance.observe.readiness import liveness, readiness, reasons
from appliance.observe.report import LaneReport, RedisReport, WorkerReport

AWAY = RedisReport("redis:6379", reachable=False)
WELL = LaneReport(parent="a", commit="c0ffee", ready=True, recovery="idle", redis=RedisReport("redis:6379"))
RUNNING = WorkerReport(status="running", stopping=False, lanes=(WELL,))


class HandClock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        raise AssertionError("loops are watched by the monotonic clock")

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@pytest.mark.parametrize(
    ("report", "codes"),
    [
        pytest.param(RUNNING, [], id="all is well"),
        pytest.param(replace(RUNNING, lanes=()), ["registering"], id="not registered"),
        pytest.param(replace(RUNNING, stopping=True), ["stopping"], id="stopping"),
        pytest.param(replace(RUNNING, stopping=True, lanes=()), ["stopping"], id="stopped while registering"),
        pytest.param(
            replace(RUNNING, lanes=(WELL, replace(WELL, ready=False))), ["process_not_ready"], id="one of two"
        ),
        pytest.param(replace(RUNNING, status="quiet"), ["quiet"], id="quiet"),
        pytest.param(replace(RUNNING, stuck=("x",)), [], id="a stuck loop is a matter of liveness"),
    ],
)
def test_a_worker_is_ready_when_nothing_speaks_against_it(report: WorkerReport, codes: list[str]) -> None:
    assert [reason.code for reason in reasons(report)] == codes
    assert readiness(report)["ready"] is (not codes)


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"commit": None, "ready": False}, ["deploying"]),
        ({"ready": False}, ["process_not_ready"]),
        ({"ready": False, "recovery": "recovering"}, ["process_recovering"]),
        ({"recovery": "recovering"}, ["process_recovering"]),
        ({"ready": False, "recovery": "degraded"}, ["process_degraded"]),
        ({"redis": AWAY}, ["redis_unreachable"]),
        (
            {"redis": AWAY, "ready": False, "recovery": "degraded"},
            ["redis_unreachable", "process_degraded"],
        ),
    ],
)
def test_each_lane_says_what_is_wrong_with_it(changes: dict[str, object], codes: list[str]) -> None:
    found = reasons(replace(RUNNING, lanes=(replace(WELL, **changes),)))  # type: ignore[arg-type]

    assert [(reason.code, reason.parent) for reason in found] == [(code, "a") for code in codes]
    assert all(reason.text.startswith("a: ") for reason in found)


def test_a_worker_is_live_while_its_loops_turn_or_when_it_stops() -> None:
    stuck = replace(RUNNING, stuck=("leases (a) has ended",))

    assert liveness(RUNNING) == {"live": True, "stuck": []}
    assert liveness(stuck) == {"live": False, "stuck": ["leases (a) has ended"]}
    assert liveness(replace(stuck, stopping=True))["live"]


def test_a_loop_is_stuck_when_one_step_takes_too_long() -> None:
    clock = HandClock()
    pulses = Pulses(clock)
    pulse = pulses.new("leases (a)")
    pulse.begin()

    clock.advance(STUCK_AFTER_S - 1)
    assert pulses.troubles() == []
    clock.advance(1)
    assert pulses.troubles() == ["leases (a) has been in one step for 90 s"]
    pulse.rest(10)
    assert pulses.troubles() == []


def test_a_loop_is_stuck_when_its_next_step_is_long_overdue() -> None:
    clock = HandClock()
    pulse = Pulse("forwarder (a)", clock)
    pulse.begin()
    pulse.rest(10)

    clock.advance(10 + STUCK_AFTER_S - 1)
    assert pulse.trouble(clock.monotonic()) is None
    clock.advance(1)
    assert pulse.trouble(clock.monotonic()) == "forwarder (a) has been overdue for 90 s"


def test_a_loop_that_waits_for_a_reason_may_wait_for_ever_but_not_end() -> None:
    clock = HandClock()
    pulse = Pulse("dispatcher (a)", clock)
    pulse.begin()
    pulse.rest(None)

    clock.advance(1e6)
    assert pulse.trouble(clock.monotonic()) is None
    pulse.end()
    assert pulse.trouble(clock.monotonic()) == "dispatcher (a) has ended"


def test_a_loop_that_has_not_begun_is_not_stuck() -> None:
    assert Pulse("x", HandClock()).trouble(1e6) is None
