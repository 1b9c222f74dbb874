"""What makes a worker ready and live: snapshots in, reasons out."""

import json
from dataclasses import replace

import pytest

from appliance.observe import beat
from appliance.observe.pulse import STUCK_AFTER_S, Pulse, Pulses
from appliance.observe.readiness import healthy, liveness, readiness, reasons, startedness
from appliance.observe.state import state
from appliance.snapshot import Identity, ParentSnapshot, RedisSnapshot, Status, WorkerSnapshot

AWAY = RedisSnapshot("redis:6379", available=False)
WELL = ParentSnapshot(
    name="a", commit="c0ffee", ready=True, recovery="idle", redis=RedisSnapshot("redis:6379")
)
RUNNING = WorkerSnapshot(
    Identity("w", "1", "3", started_at_wall_s=0, concurrency=1), Status.RUNNING, (WELL,), now_wall_s=90
)


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
    ("snapshot", "codes"),
    [
        pytest.param(RUNNING, [], id="all is well"),
        pytest.param(replace(RUNNING, parents=()), ["registering"], id="not registered"),
        pytest.param(replace(RUNNING, stopping=True), ["stopping"], id="stopping"),
        pytest.param(
            replace(RUNNING, stopping=True, parents=()), ["stopping"], id="stopped while registering"
        ),
        pytest.param(
            replace(RUNNING, parents=(WELL, replace(WELL, ready=False))),
            ["process_not_ready"],
            id="one of two",
        ),
        pytest.param(replace(RUNNING, quiet=True), ["quiet"], id="quiet"),
        pytest.param(replace(RUNNING, stuck=("x",)), [], id="a stuck loop is a matter of liveness"),
    ],
)
def test_a_worker_is_ready_when_nothing_speaks_against_it(snapshot: WorkerSnapshot, codes: list[str]) -> None:
    assert [reason.code for reason in reasons(snapshot)] == codes
    assert readiness(snapshot)["ready"] is (not codes)


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"commit": None, "ready": False}, ["deploying"]),
        ({"ready": False}, ["process_not_ready"]),
        ({"ready": False, "recovery": "recovering"}, ["process_recovering"]),
        ({"recovery": "recovering"}, ["process_recovering"]),
        ({"ready": False, "recovery": "degraded"}, ["process_degraded"]),
        ({"redis": AWAY}, ["redis_unavailable"]),
        (
            {"redis": AWAY, "ready": False, "recovery": "degraded"},
            ["redis_unavailable", "process_degraded"],
        ),
    ],
)
def test_each_parent_queue_says_what_is_wrong_with_it(changes: dict[str, object], codes: list[str]) -> None:
    found = reasons(replace(RUNNING, parents=(replace(WELL, **changes),)))  # type: ignore[arg-type]

    assert [(reason.code, reason.parent) for reason in found] == [(code, "a") for code in codes]
    assert all(reason.text.startswith("a: ") for reason in found)


@pytest.mark.parametrize(
    ("changes", "well"),
    [
        ({}, True),
        ({"commit": None, "ready": False}, True),
        ({"ready": False}, True),
        ({"recovery": "recovering", "ready": False}, False),
        ({"recovery": "degraded", "ready": False}, False),
        # Nothing is taken, so the dispatcher has not noticed; upkeep has.
        ({"redis": AWAY}, False),
    ],
)
@pytest.mark.parametrize("about", [{}, {"quiet": True}, {"stopping": True}], ids=["", "quiet", "stopping"])
def test_what_the_heartbeat_calls_healthy_is_what_no_probe_gives_a_reason_against(
    changes: dict[str, object], about: dict[str, bool], well: bool
) -> None:
    parent = replace(WELL, **changes)  # type: ignore[arg-type]
    snapshot = replace(RUNNING, parents=(WELL, parent), **about)  # type: ignore[arg-type]

    assert healthy(snapshot) is well
    assert beat.fields(snapshot, {})["healthy"] == str(int(well))
    assert state(snapshot)["healthy"] is well


def test_the_heartbeat_lists_queues_at_once_and_commits_once_they_are_deployed() -> None:
    deploying = replace(WELL, name="b", commit=None, ready=False, queues={"b.x": 2})
    served = replace(WELL, queues={"a.y": 1, "a.x": 9}, redeployed={"outcome": "done"})

    said = beat.fields(replace(RUNNING, parents=(served, deploying)), {})

    assert said["queues"] == "map[a.x:9 a.y:1 b.x:2]"
    assert said["commit"] == "c0ffee"
    assert json.loads(said["recovery"]).keys() == {"a"}
    assert json.loads(said["redeployed"]) == {"a": {"outcome": "done"}}
    both = beat.fields(replace(RUNNING, parents=(served, replace(deploying, commit="beef"))), {})
    assert both["commit"] == "a:c0ffee b:beef"


def test_a_worker_is_live_while_its_loops_turn_or_when_it_stops() -> None:
    stuck = replace(RUNNING, stuck=("leases (a) has ended",))

    assert liveness(RUNNING) == {"live": True, "stuck": []}
    assert liveness(stuck) == {"live": False, "stuck": ["leases (a) has ended"]}
    assert liveness(replace(stuck, stopping=True))["live"]


def test_a_worker_is_started_when_it_was_ready_once_and_from_then_on_while_it_is_live() -> None:
    coming = replace(RUNNING, parents=(replace(WELL, ready=False),))
    started = replace(RUNNING, started=True)

    assert not startedness(coming)["started"]
    assert [reason["code"] for reason in startedness(coming)["reasons"]] == ["process_not_ready"]
    assert startedness(started) == {"started": True, "reasons": [], "stuck": []}
    # What happens later is no reason to replace it, but for loops that stand still.
    away = replace(started, parents=(replace(WELL, ready=False, recovery="recovering", redis=AWAY),))
    assert startedness(away)["started"]
    stuck = replace(started, stuck=("leases (a) has ended",))
    assert startedness(stuck) == {"started": False, "reasons": [], "stuck": ["leases (a) has ended"]}
    assert startedness(replace(stuck, stopping=True))["started"]
    # One that gave up before it was ready never is.
    assert not startedness(replace(RUNNING, parents=(replace(WELL, recovery="degraded"),)))["started"]


def test_a_loop_is_stuck_when_one_step_takes_too_long() -> None:
    clock = HandClock()
    pulses = Pulses(clock)
    pulse = pulses.new("leases (a)")
    pulse.begin()

    clock.advance(STUCK_AFTER_S - 1)
    assert pulses.problems() == []
    clock.advance(1)
    assert pulses.problems() == ["leases (a) has been in one step for 90 s"]
    pulse.rest(10)
    assert pulses.problems() == []


def test_a_loop_is_stuck_when_its_next_step_is_long_overdue() -> None:
    clock = HandClock()
    pulse = Pulse("forwarder (a)", clock)
    pulse.begin()
    pulse.rest(10)

    clock.advance(10 + STUCK_AFTER_S - 1)
    assert pulse.problem(clock.monotonic()) is None
    clock.advance(1)
    assert pulse.problem(clock.monotonic()) == "forwarder (a) has been overdue for 90 s"


def test_a_loop_that_waits_for_a_reason_may_wait_for_ever_but_not_end() -> None:
    clock = HandClock()
    pulse = Pulse("dispatcher (a)", clock)
    pulse.begin()
    pulse.rest(None)

    clock.advance(1e6)
    assert pulse.problem(clock.monotonic()) is None
    pulse.end()
    assert pulse.problem(clock.monotonic()) == "dispatcher (a) has ended"


def test_a_loop_that_has_not_begun_is_not_stuck() -> None:
    assert Pulse("x", HandClock()).problem(1e6) is None
