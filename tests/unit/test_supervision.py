"""Both runners on a pretended process: whatever happens in whatever order, their promises hold."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.clock import Clock
from appliance.config.settings import RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process.child import Launch, Listener, ProcessExit
from appliance.process.long_running import LongRunning
from appliance.process.one_shot import OneShot
from appliance.process.protocol import Answer, Ready, StartError
from appliance.process.supervisor import CrashReport, Hooks, ProcessSpec
from appliance.process.work import Died, Expired, Outcome, Request, Returned, Succeeded

RECOVERY = RecoverySettings(max_restarts=2, initial_delay_s=1.0, cooldown_period_s=30.0)
SPEC = ProcessSpec(("task",), Path("/"), {}, startup_timeout_s=10.0, stop_grace_s=5.0)
TASK_IDS = ("a", "b", "c")


class FakeClock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here may sleep")


@dataclass(eq=False)
class FakeChild:
    """A process that does what the test says, and dies when it is waited for."""

    launch: Launch
    listener: Listener
    clock: Clock
    redact: Callable[[str], str]
    alive: bool = False
    sent: list[bytes] = field(default_factory=list)

    @property
    def pid(self) -> int | None:
        return 1 if self.alive else None

    def start(self) -> None:
        self.alive = True

    def send(self, line: bytes) -> None:
        self.sent.append(line)

    def close_input(self) -> None:
        pass

    def end(self, *, ask_s: float, grace_s: float) -> None:
        assert 0 <= ask_s <= grace_s

    def wait(self, timeout_s: float | None = None) -> bool:
        if self.alive:
            self.exit(-9)
        return True

    def exit(self, returncode: int) -> None:
        self.alive = False
        now_s = self.clock.monotonic()
        self.listener.on_exit(ProcessExit("gone", returncode, now_s, 1.0, ("last words",), None))


class World:
    """One runner, the processes it started, and what it delivered."""

    def __init__(self, kind: type[LongRunning] | type[OneShot]) -> None:
        self.clock = FakeClock()
        self.children: list[FakeChild] = []
        self.submitted: list[str] = []
        self.outcomes: list[tuple[str, Outcome]] = []
        self.crashes: list[CrashReport] = []
        self.stopped = False
        hooks = Hooks(lambda: None, lambda *_: None, self.crashes.append, str)
        self.runner = kind("q", SPEC, RECOVERY, self.clock, hooks, self._make_child)
        self.runner.start()

    @property
    def alive(self) -> list[FakeChild]:
        return [child for child in self.children if child.alive]

    def _make_child(
        self, launch: Launch, listener: Listener, clock: Clock, redact: Callable[[str], str]
    ) -> FakeChild:
        assert not self.stopped, "a process was started after the stop"
        self.children.append(FakeChild(launch, listener, clock, redact))
        return self.children[-1]

    def submit(self, task_id: str = "a", **limits: float) -> None:
        ready, refusal = self.runner.ready, ""
        request = Request(task_id, "q.a", "kind", b"{}", 0, 3, **limits)
        try:
            self.runner.submit(request, self._deliver)
        except ProcessNotReady as exc:
            refusal = str(exc)
        else:
            self.submitted.append(task_id)
        assert ready == (not refusal or "in flight" in refusal)

    def _deliver(self, request: Request, outcome: Outcome) -> None:
        self.outcomes.append((request.task_id, outcome))

    def pass_time(self, seconds: float) -> None:
        self.clock.now_s += seconds
        due_s = self.runner.tick()
        assert due_s is None or due_s > self.clock.now_s, "a tick leaves nothing that is due"

    def stop(self) -> None:
        self.stopped = True
        self.runner.stop(5.0)


Step = Callable[[World], None]


def on_one(index: int, act: Callable[[FakeChild], None]) -> Step:
    """Let one of the living processes do something."""

    def step(world: World) -> None:
        if world.alive:
            act(world.alive[index % len(world.alive)])

    return step


def answers(task_id: str) -> Callable[[FakeChild], None]:
    return lambda child: child.listener.on_event(Answer(task_id, Succeeded(b"1")))


def works(child: FakeChild) -> None:
    child.listener.on_event(Ready())
    for line in child.sent:
        answers(json.loads(line)["task_id"])(child)


INDEX = st.integers(0, 3)
STEPS = st.one_of(
    st.sampled_from(TASK_IDS).map(lambda task_id: lambda world: world.submit(task_id)),
    st.sampled_from(TASK_IDS).map(lambda task_id: lambda world: world.submit(task_id, run_limit_s=3.0)),
    st.sampled_from(TASK_IDS).map(
        lambda task_id: lambda world: world.submit(task_id, deadline_monotonic_s=world.clock.now_s + 2.0)
    ),
    st.sampled_from(TASK_IDS).map(lambda task_id: lambda world: world.runner.cancel(task_id, "asked")),
    st.floats(0, 60).map(lambda seconds: lambda world: world.pass_time(seconds)),
    INDEX.map(lambda index: on_one(index, lambda child: child.listener.on_event(Ready()))),
    INDEX.map(lambda index: on_one(index, lambda child: child.listener.on_event(StartError("no")))),
    INDEX.map(lambda index: on_one(index, lambda child: child.listener.on_broken("closed its stdout"))),
    INDEX.map(lambda index: on_one(index, lambda child: child.exit(1))),
    st.tuples(INDEX, st.sampled_from(TASK_IDS)).map(lambda drawn: on_one(drawn[0], answers(drawn[1]))),
    INDEX.map(lambda index: on_one(index, works)),
    st.just(World.stop),
)


@pytest.mark.parametrize("kind", [LongRunning, OneShot])
@settings(max_examples=5_000, deadline=None)
@given(steps=st.lists(STEPS, max_size=50))
def test_whatever_happens_in_whatever_order_the_promises_hold(
    kind: type[LongRunning] | type[OneShot], steps: list[Step]
) -> None:
    world = World(kind)

    for step in steps:
        step(world)

        open_tasks = len(world.submitted) - len(world.outcomes)
        assert open_tasks >= 0
        assert open_tasks == 0 or world.alive, "a task waits for nobody"
        if kind is LongRunning:
            assert len(world.alive) <= 1, "two processes at once"
        assert not (world.runner.ready and world.stopped)
        assert world.runner.state().consecutive_fails <= RECOVERY.max_restarts + 1

    world.stop()
    assert Counter(task_id for task_id, _ in world.outcomes) == Counter(world.submitted)
    assert world.alive == []
    assert world.runner.state().pids == ()
    died = sum(isinstance(outcome, Died) for _, outcome in world.outcomes)
    assert died <= sum(len(crash.task_ids) for crash in world.crashes if crash.was_ready)


def ready_world() -> tuple[World, FakeChild]:
    world = World(LongRunning)
    (child,) = world.children
    child.listener.on_event(Ready())
    return world, child


def test_restarts_come_at_the_delays_of_the_recovery_and_not_a_moment_earlier() -> None:
    world, _ = ready_world()

    for delay_s in (1.0, 2.0):
        world.children[-1].exit(1)
        world.pass_time(delay_s - 0.001)
        assert world.alive == []
        world.pass_time(0.001)
        assert len(world.alive) == 1
    world.children[-1].exit(1)
    world.pass_time(1_000_000.0)

    assert len(world.children) == 3
    assert world.runner.state().recovery == "degraded"


def test_the_next_process_starts_only_when_the_one_before_is_gone() -> None:
    world, child = ready_world()
    world.submit("a", run_limit_s=3.0)

    world.pass_time(3.0)
    assert world.alive == [child]
    assert world.outcomes == [], "nobody may run the task again while its old run lives"

    child.exit(-9)
    assert world.outcomes == [("a", Expired("timeout: still running after 3 s"))]
    assert world.alive == [world.children[1]]


def test_an_answer_that_comes_after_the_limit_is_too_late() -> None:
    world, child = ready_world()
    world.submit("a", run_limit_s=3.0)
    world.pass_time(3.0)

    answers("a")(child)
    child.exit(0)

    assert [type(outcome) for _, outcome in world.outcomes] == [Expired]


def test_an_answer_of_another_task_that_comes_while_the_process_is_replaced_counts() -> None:
    world, child = ready_world()
    world.submit("a", run_limit_s=3.0)
    world.submit("b")
    world.submit("c")
    world.pass_time(3.0)

    answers("b")(child)
    child.exit(-15)

    assert [type(outcome) for _, outcome in world.outcomes] == [Succeeded, Expired, Returned]


def test_a_task_that_waits_for_a_place_is_returned_when_starting_turns_out_to_fail() -> None:
    world = World(OneShot)
    world.submit("a")
    world.submit("b")
    works(world.children[0])
    world.submit("c")
    assert len(world.children) == 2, "the process that answered still has its place"

    world.children[1].exit(1)

    assert [task_id for task_id, _ in world.outcomes] == ["a", "b", "c"]
    assert world.outcomes[2] == ("c", Returned("the task process did not start"))


def test_an_answer_that_comes_before_the_task_was_sent_is_no_answer() -> None:
    world = World(OneShot)
    world.submit("a")
    (child,) = world.children

    answers("a")(child)
    assert world.outcomes == []

    works(child)
    assert world.outcomes == [("a", Succeeded(b"1"))]


def test_a_task_is_sent_to_a_one_shot_process_when_that_is_ready_and_not_before() -> None:
    world = World(OneShot)
    world.submit("a")
    (child,) = world.children
    assert child.sent == []

    child.listener.on_event(Ready())
    child.listener.on_event(Ready())

    assert len(child.sent) == 1
