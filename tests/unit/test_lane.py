"""One parent queue at work: how it drains and stops, what it says of Redis, which folders it keeps."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from appliance import lane
from appliance.control.contract import RedisEndpoint
from appliance.event import Event
from appliance.lane import DISPATCHER, FINAL_SETTLE_S, UPKEEP, Lane, Loop, Parts, Running, deploying
from appliance.queue.place import RedisPlace
from tests.clock import HandClock

CONTRACT = SimpleNamespace(
    parent="inference",
    address="redis:6379",
    priorities={"inference.high": 9},
    registration=SimpleNamespace(deployment=SimpleNamespace(mode=SimpleNamespace(value="long_running"))),
)
DEPLOYED = SimpleNamespace(commit="c0ffee", notes=(), repository_problem="")
OLD, NEW = Path("/code/inference"), Path("/code/inference.2")


class Runner:
    def __init__(self) -> None:
        self.stopped: list[float] = []
        self.places = {OLD}
        self.refusal: str | None = None
        self.complaint = ""

    def start(self) -> None:
        pass

    def stop(self, grace_s: float) -> None:
        self.stopped.append(grace_s)
        if self.complaint:
            raise OSError(self.complaint)

    def folders(self) -> set[Path]:
        return self.places

    def hand_over(self, spec: object, done: Any) -> None:
        done(self.refusal)

    def state(self) -> SimpleNamespace:
        return SimpleNamespace(ready=True, recovery="idle", consecutive_fails=0, total_restarts=0, pids=(7,))


class Dispatcher:
    """Its tasks take ``lasting_s`` from when the intake is closed."""

    def __init__(self, clock: HandClock, lasting_s: float) -> None:
        self._clock = clock
        self._lasting_s = lasting_s
        self._end_s = float("inf")
        self.finished: list[float] = []
        self.redis_failing = False
        self.sent_at_s = 0.0
        self.backlog = SimpleNamespace(outcomes=0, oldest_s=0.0)
        self.tallies: dict[str, object] = {}

    @property
    def slots(self) -> SimpleNamespace:
        return SimpleNamespace(
            in_use=int(self._clock.now_s < self._end_s),
            total=1,
            fetched_ahead=0,
            report=lambda: (),
            wait_idle=self._wait_idle,
        )

    @property
    def sending(self) -> bool:
        return self._clock.now_s < self.sent_at_s

    def describe(self) -> dict[str, object]:
        return {}

    def close_intake(self) -> None:
        self._end_s = self._clock.now_s + self._lasting_s

    def _wait_idle(self, timeout_s: float) -> None:
        self._clock.now_s += timeout_s

    def finish(self, timeout_s: float) -> bool:
        self.finished.append(timeout_s)
        return True


class Uses:
    def __init__(self) -> None:
        self.kept: list[set[Path]] = []

    def keep_only(self, folders: set[Path]) -> None:
        self.kept.append(set(folders))


class Connections:
    def __init__(self) -> None:
        self.lost_ones: set[str] = set()
        self.closed = False
        self.connects, self.errors = 3, 1
        self.place, self.problem, self.refused = (
            RedisPlace(RedisEndpoint("redis", 6379, "", 0, False)),
            "",
            False,
        )

    def lost(self, purpose: str) -> bool:
        return purpose in self.lost_ones

    def close(self) -> None:
        self.closed = True


class Bench:
    """A lane of stand-ins; its dispatcher's loop runs until it is killed."""

    def __init__(
        self, lasting_s: float = 1.0, loop: Callable[[Any], object] = lambda _pulse: Event().wait()
    ) -> None:
        self.clock, self.runner, self.uses = HandClock(), Runner(), Uses()
        self.dispatcher, self.connections = Dispatcher(self.clock, lasting_s), Connections()
        self.moments: list[tuple[str, str]] = []
        parts: Any = Parts(
            runner=self.runner,  # type: ignore[arg-type]
            dispatcher=self.dispatcher,  # type: ignore[arg-type]
            leases=SimpleNamespace(lost_total=0),  # type: ignore[arg-type]
            progress=SimpleNamespace(),  # type: ignore[arg-type]
            depths=SimpleNamespace(depths={}),  # type: ignore[arg-type]
            connections=self.connections,  # type: ignore[arg-type]
            uses=self.uses,  # type: ignore[arg-type]
            loops=(Loop(DISPATCHER, lambda pulse: loop(pulse) and None),),
            stop=Event(),
        )
        tools: Any = SimpleNamespace(
            clock=self.clock,
            settings=SimpleNamespace(
                worker=SimpleNamespace(shutdown_timeout_s=30.0), process=SimpleNamespace(stop_grace_s=5.0)
            ),
            pulses=SimpleNamespace(new=lambda name: name),
            timeline=SimpleNamespace(state=lambda parent, what: self.moments.append((parent, what))),
        )
        running: Any = Running(CONTRACT, DEPLOYED, object())  # type: ignore[arg-type]
        self.lane = Lane(running, parts, tools)


def test_a_drain_ends_when_the_last_task_does() -> None:
    bench = Bench(lasting_s=2.0)
    bench.lane.start()

    bench.lane.drain(Event())

    assert bench.lane.in_flight == 0
    assert bench.clock.now_s == pytest.approx(102, abs=0.2)
    bench.lane.stop()


def test_a_drain_waits_for_the_outcome_that_is_still_being_sent() -> None:
    bench = Bench(lasting_s=2.0)
    bench.dispatcher.sent_at_s = 110.0
    bench.lane.start()

    bench.lane.drain(Event())

    assert bench.clock.now_s == pytest.approx(110, abs=0.2)
    bench.lane.stop()


def test_a_drain_lasts_no_longer_than_it_may_and_says_what_it_leaves() -> None:
    bench = Bench(lasting_s=60.0)
    bench.lane.start()

    with structlog.testing.capture_logs() as logged:
        bench.lane.drain(Event())

    assert bench.clock.now_s == pytest.approx(130, abs=0.2)
    assert logged == [{"event": "drain.timed_out", "parent": "inference", "tasks": 1, "log_level": "warning"}]
    bench.lane.stop()


def test_a_drain_that_should_hurry_waits_for_no_task() -> None:
    bench, hurry = Bench(lasting_s=60.0), Event()
    bench.lane.start()
    hurry.set()

    bench.lane.drain(hurry)

    assert bench.clock.now_s == 100
    bench.lane.stop()


def test_a_loop_that_takes_long_to_end_does_not_keep_the_lane_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane, "_LOOPS_END_S", 0.01)
    begun, may_end = Event(), Event()

    def lasts(_pulse: object) -> None:
        try:
            begun.set()
            Event().wait()
        finally:
            may_end.wait()

    bench = Bench(loop=lasts)
    bench.lane.start()
    begun.wait(10)

    bench.lane.stop()

    assert bench.runner.stopped == [5.0]
    # It may be in use.
    assert not bench.connections.closed
    may_end.set()


def test_a_process_that_cannot_be_stopped_keeps_no_outcome_from_being_settled() -> None:
    bench = Bench()
    bench.lane.start()
    bench.runner.complaint = "the process is not ours to end"

    with pytest.raises(OSError, match="not ours"):
        bench.lane.stop()

    assert bench.dispatcher.finished == [FINAL_SETTLE_S]
    assert bench.connections.closed


def test_a_lane_that_was_never_started_drains_and_stops_at_once() -> None:
    bench = Bench()

    bench.lane.drain(Event())
    bench.lane.stop()

    assert (bench.runner.stopped, bench.dispatcher.finished) == ([5.0], [0])
    assert bench.connections.closed


def test_redis_is_unavailable_when_upkeep_says_so_though_the_dispatcher_does_not_ask() -> None:
    bench = Bench()
    assert bench.lane.snapshot().redis.available
    # A connection that is used now and then only has nothing to say about now.
    bench.connections.lost_ones = {"status"}
    assert bench.lane.snapshot().redis.available

    bench.connections.lost_ones = {UPKEEP}
    assert not bench.lane.snapshot().redis.available

    bench.connections.lost_ones = set()
    bench.dispatcher.redis_failing = True
    assert not bench.lane.snapshot().redis.available


def test_a_folder_that_is_being_prepared_is_not_released_when_a_process_changes() -> None:
    bench = Bench()

    with bench.lane.preparing():
        bench.lane.changed()
        assert bench.uses.kept == []
        bench.runner.places = {NEW}

    assert bench.uses.kept == [{NEW}]
    bench.lane.changed()
    assert bench.uses.kept == [{NEW}] * 2
    assert bench.moments == [("inference", "ready")] * 2


@pytest.mark.parametrize("refusal", [None, "it did not become ready"])
def test_what_runs_is_the_new_code_only_after_it_has_taken_over(refusal: str | None) -> None:
    bench = Bench()
    before: Any = bench.lane.running
    after: Any = Running(CONTRACT, SimpleNamespace(commit="beef"), object())  # type: ignore[arg-type]
    bench.runner.refusal = refusal

    assert bench.lane.hand_over(after) == refusal
    assert bench.lane.running is (before if refusal else after)


@pytest.mark.parametrize(("reached", "problem"), [(False, "redis:6379 has not answered yet"), (True, "")])
def test_redis_is_not_called_available_before_it_has_answered(reached: bool, problem: str) -> None:
    redis = deploying(CONTRACT, redis_reached=reached).redis  # type: ignore[arg-type]

    assert (redis.available, redis.problem) == (reached, problem)
