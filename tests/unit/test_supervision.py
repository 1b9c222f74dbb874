"""Both runners on a pretended process: whatever happens in whatever order, their promises hold."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from appliance.clock import Clock
from appliance.config.settings import RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process.answers import Answer, Ready, StartError
from appliance.process.launch import Launch
from appliance.process.listener import Listener, ProcessExit
from appliance.process.outcome import Crashed, Outcome, Returned, Succeeded, TimedOut
from appliance.process.runner import Request
from appliance.process.runners.long_running import LongRunning
from appliance.process.runners.one_shot import OneShot
from appliance.process.spec import CrashReport, Hooks, ProcessSpec

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
    #: The times that :meth:`end` was given, once per call.
    asked_to_end: list[tuple[float, float]] = field(default_factory=list)

    @property
    def pid(self) -> int | None:
        return 1 if self.alive else None

    def start(self) -> None:
        self.alive = True

    def send(self, line: bytes) -> None:
        self.sent.append(line)

    def close_input(self) -> None:
        pass

    def end(self, *, ask_s: float, grace_s: float, dump: bool = False) -> None:
        assert 0 <= ask_s <= grace_s
        assert not dump or ask_s == 0, "what hangs is not asked"
        self.asked_to_end.append((ask_s, grace_s))

    def wait(self, timeout_s: float | None = None) -> bool:
        if self.alive:
            self.exit(-9)
        return True

    def exit(self, returncode: int, ago_s: float = 0.0) -> None:
        self.alive = False
        at_s = self.clock.monotonic() - ago_s
        self.listener.on_exit(ProcessExit("gone", returncode, at_s, 1.0, ("last words",), None))


class World:
    """One runner, the processes it started, and what it delivered."""

    def __init__(self, kind: type[LongRunning] | type[OneShot], spec: ProcessSpec = SPEC) -> None:
        self.clock = FakeClock()
        self.children: list[FakeChild] = []
        self.submitted: list[str] = []
        self.outcomes: list[tuple[str, Outcome]] = []
        self.crashes: list[CrashReport] = []
        self.stopped = False
        self.on_output: Callable[..., object] = lambda *_: None
        #: Also told about crashes.
        self.on_crash: Callable[[CrashReport], object] = lambda _: None

        def crashed(crash: CrashReport) -> None:
            self.crashes.append(crash)
            self.on_crash(crash)

        hooks = Hooks(lambda: None, lambda *line: self.on_output(*line), crashed, str)  # noqa: PLW0108
        self.runner = kind("q", spec, RECOVERY, self.clock, hooks, self._make_child)
        self.runner.start()
        # Time passes only when a test says so, and no timer outlives its test.
        self.runner._starter.alarm.stop()

    @property
    def alive(self) -> list[FakeChild]:
        return [child for child in self.children if child.alive]

    def _make_child(
        self, launch: Launch, listener: Listener, clock: Clock, redact: Callable[[str], str]
    ) -> FakeChild:
        assert not self.stopped, "a process was started after the stop"
        self.children.append(FakeChild(launch, listener, clock, redact))
        return self.children[-1]

    def submit(self, task_id: str = "a", crashes: int = 0, **limits: float) -> None:
        ready, refusal = self.runner.ready, ""
        request = Request(task_id, "q.a", "kind", b"{}", 0, 3, crashes=crashes, **limits)
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
@settings(max_examples=500)
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
    died = sum(isinstance(outcome, Crashed) for _, outcome in world.outcomes)
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
    assert world.outcomes == [("a", TimedOut("timeout: still running after 3 s"))]
    assert world.alive == [world.children[1]]


def test_an_answer_that_comes_after_the_limit_is_too_late() -> None:
    world, child = ready_world()
    world.submit("a", run_limit_s=3.0)
    world.pass_time(3.0)

    answers("a")(child)
    child.exit(0)

    assert [type(outcome) for _, outcome in world.outcomes] == [TimedOut]


def test_an_answer_of_another_task_that_comes_while_the_process_is_replaced_counts() -> None:
    world, child = ready_world()
    world.submit("a", run_limit_s=3.0)
    world.submit("b")
    world.submit("c")
    world.pass_time(3.0)

    answers("b")(child)
    child.exit(-15)

    assert [type(outcome) for _, outcome in world.outcomes] == [Succeeded, TimedOut, Returned]


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


def test_the_delay_counts_from_the_exit_and_not_from_its_report() -> None:
    world, child = ready_world()

    child.exit(1, ago_s=0.4)

    world.pass_time(0.59)
    assert world.alive == []
    world.pass_time(0.01)
    assert len(world.alive) == 1


def test_the_first_reason_to_end_a_process_is_the_one_its_tasks_are_told() -> None:
    world, child = ready_world()
    world.submit("a")
    world.submit("b")
    world.runner.cancel("a", "asked")

    world.stop()

    assert world.outcomes[1] == ("b", Returned("the task process was ended: cancelled: asked"))
    assert len(child.asked_to_end) == 2, "the stop still sets its times"


def test_a_cancellation_that_comes_after_the_limit_passed_does_not_change_the_outcome() -> None:
    world, child = ready_world()
    world.submit("a", run_limit_s=3.0)
    world.pass_time(3.0)

    world.runner.cancel("a", "asked")
    child.exit(-15)

    assert [type(outcome) for _, outcome in world.outcomes] == [TimedOut]


def test_a_restart_is_announced_once_however_often_the_runner_looks() -> None:
    with capture_logs() as events:
        world, child = ready_world()
        child.exit(1)

        world.pass_time(0.3)
        world.pass_time(0.3)

    scheduled = [event for event in events if event["event"] == "process.restart_scheduled"]
    assert [(event["parent"], event["delay_s"], event["restart"]) for event in scheduled] == [("q", 1.0, 1)]


def _work_off(world: World, task_id: str) -> None:
    world.submit(task_id)
    answers(task_id)(world.children[-1])


def _crash_on(world: World, task_id: str, crashes: int) -> None:
    world.submit(task_id, crashes=crashes)
    world.children[-1].exit(-11)
    world.pass_time(60.0)
    if world.alive:
        world.alive[0].listener.on_event(Ready())


def test_a_task_that_crashes_the_process_again_and_again_does_not_degrade_it_while_others_succeed() -> None:
    world, _ = ready_world()

    for crashes in range(20):
        _crash_on(world, "poison", crashes)
        _work_off(world, f"good {crashes}")

    assert world.runner.state().consecutive_fails <= 1
    assert world.runner.state().total_restarts == 20
    assert [crash.charged_to for crash in world.crashes] == ["", *["poison"] * 19]


def test_crashes_without_a_known_suspect_count_however_many_tasks_succeed_in_between() -> None:
    world, _ = ready_world()

    for crash in range(RECOVERY.max_restarts + 1):
        _work_off(world, f"good {crash}")
        world.submit(f"new {crash}")
        world.children[-1].exit(-11)
        world.pass_time(10.0)
        if world.alive:
            world.alive[0].listener.on_event(Ready())

    assert world.runner.state().recovery == "degraded"


def test_a_suspect_that_crashes_a_process_that_never_works_degrades_it() -> None:
    world, _ = ready_world()

    for crashes in range(RECOVERY.max_restarts + 1):
        world.submit("poison", crashes=crashes)
        world.children[-1].exit(-11)
        world.pass_time(10.0)
        if world.alive:
            world.alive[0].listener.on_event(Ready())

    assert world.runner.state().recovery == "degraded"


def test_a_crash_is_reported_before_the_restart_that_follows_is_announced() -> None:
    world, child = ready_world()

    with capture_logs() as lines:
        world.on_crash = lambda _: lines.append({"event": "process.crashed", "log_level": "error"})
        child.exit(-11)

    events = [line["event"] for line in lines]
    assert events == ["process.exited", "process.crashed", "process.restart_scheduled"]


def _hints(world: World, *lines: str) -> list[str]:
    with capture_logs() as logged:
        for line in lines:
            world.children[-1].listener.on_output("stdout", line)
    return [line["task_id"] for line in logged if line["event"] == "process.no_answer"]


def test_an_answer_over_several_lines_is_hinted_at_once() -> None:
    world, child = ready_world()
    world.submit("3f2c8a54-77aa")

    assert _hints(world, "{", '  "task_id": "3f2c8a54-77aa",', '  "result": 1', "}") == ["3f2c8a54-77aa"]
    assert _hints(world, '  "task_id": "3f2c8a54-77aa",') == [], "once"
    child.exit(1)
    world.pass_time(10.0)
    world.alive[0].listener.on_event(Ready())
    world.submit("99999999-77aa")
    assert _hints(world, "99999999-77aa") == [], "once, not once for each process"


@pytest.mark.parametrize(
    ("line", "hints"),
    [("working on 12345678", ["12345678"]), ("step 1234567", []), ("done", [])],
)
def test_output_is_hinted_at_only_where_it_names_a_task_that_runs(line: str, hints: list[str]) -> None:
    world, child = ready_world()
    world.submit("12345678")

    assert _hints(world, line) == hints
    child.listener.on_event(Answer("12345678", Succeeded(b"1")))
    assert _hints(world, "12345678 again") == []


@pytest.mark.parametrize(("line", "hints"), [('  "task_id": "42",', ["42"]), ("step 42 of 100", [])])
def test_a_short_id_is_recognised_by_its_quotes(line: str, hints: list[str]) -> None:
    world, _ = ready_world()
    world.submit("42")

    assert _hints(world, line) == hints


def test_output_belongs_to_the_one_task_that_runs_and_to_none_beside_others() -> None:
    world, child = ready_world()
    seen: list[str | None] = []
    world.on_output = lambda _source, _text, task_id: seen.append(task_id)

    child.listener.on_output("stderr", "idle")
    world.submit("a")
    child.listener.on_output("stderr", "one")
    world.submit("b")
    child.listener.on_output("stderr", "two")

    assert seen == [None, "a", None]


@pytest.mark.parametrize(("one_task", "level"), [(False, "info"), (True, "debug")])
def test_the_life_of_a_process_for_one_task_is_routine(one_task: bool, level: str) -> None:
    world = World(OneShot, replace(SPEC, one_task=one_task))

    with capture_logs() as lines:
        world.submit("a")
        works(world.children[-1])
        world.children[-1].exit(0)

    assert {line["event"]: line["log_level"] for line in lines} == {
        "process.starting": level,
        "process.ready": level,
        "process.exited": level,
    }


def test_code_that_answers_one_at_a_time_is_remarked_on_once() -> None:
    world, child = ready_world()

    with capture_logs() as lines:
        for burst in range(20):
            ids = [f"{burst}-{number}" for number in range(4)]
            for task_id in ids:
                world.submit(task_id)
            for task_id in ids:
                world.clock.now_s += 1.0
                answers(task_id)(child)

    (remark,) = [line for line in lines if line["event"] == "process.one_at_a_time"]
    assert remark["in_flight"] == 4
    assert "start more workers" in remark["hint"]
