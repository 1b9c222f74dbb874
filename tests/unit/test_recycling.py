"""Recycling: a process that has grown old is replaced between tasks, without a pause where there is room."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config.settings import ProcessSettings, RecoverySettings
from appliance.process import recycling
from appliance.process.answers import Ready
from appliance.process.outcome import Returned, Succeeded
from appliance.process.recycling import AGAIN_S, Age
from appliance.process.runners.long_running import LongRunning
from tests.unit.test_supervision import SPEC, STEPS, FakeChild, Step, World, answers

GIB = 2**30


class Recycled(World):
    """A runner that replaces its process after two tasks, or above one GiB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int = 64 * GIB, used: int = GIB // 2) -> None:
        monkeypatch.setattr(recycling, "free_bytes", lambda: self.free)
        monkeypatch.setattr(recycling, "memory_bytes", lambda _pid: self.used)
        self.free, self.used = free, used
        self.asked = 0
        self.answered: list[str | None] = []
        super().__init__(self._make_runner)  # type: ignore[arg-type]
        self.alive[0].listener.on_event(Ready())

    @staticmethod
    def _make_runner(parent, spec, recovery, clock, hooks, make_child) -> LongRunning:  # type: ignore[no-untyped-def]
        limits = ProcessSettings(max_tasks=2, max_memory_bytes=GIB)
        return LongRunning(parent, SPEC, RecoverySettings(), clock, hooks, make_child, limits)

    def redeploy(self) -> None:
        if self.stopped:
            return
        under_way = self.asked > len(self.answered)
        try:
            self.runner.hand_over(NEXT, self.answered.append)
        except RuntimeError:
            assert under_way
        else:
            # Without memory it is refused before anything else is looked at.
            self.asked += 1

    def set_free(self, free: int) -> None:
        self.free = free

    def work(self, child: FakeChild, *task_ids: str) -> None:
        for task_id in task_ids:
            self.submit(task_id)
            answers(task_id)(child)


def test_the_successor_is_ready_before_the_old_process_is_asked_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    old, successor = world.alive
    assert world.runner.ready, "intake does not pause"

    world.work(old, "c")
    successor.listener.on_event(Ready())
    world.submit("d")

    assert any(b'"d"' in line for line in successor.sent)
    assert not any(b'"d"' in line for line in old.sent)
    old.exit(0)
    assert world.alive == [successor]
    assert world.crashes == []
    assert world.runner.state().total_restarts == 0


def test_the_old_process_works_off_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    world.submit("slow")
    _, successor = world.alive
    successor.listener.on_event(Ready())

    answers("slow")(old)
    old.exit(0)

    assert world.outcomes[-1] == ("slow", Succeeded(b"1"))
    assert world.alive == [successor]


def test_where_memory_has_no_room_for_two_intake_pauses_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch, free=GIB // 4)
    (old,) = world.alive
    world.submit("a")
    world.submit("b")
    world.submit("slow")
    answers("a")(old)
    answers("b")(old)
    assert world.alive == [old]
    assert not world.runner.ready

    answers("slow")(old)
    old.exit(0)

    (successor,) = world.alive
    successor.listener.on_event(Ready())
    assert world.runner.ready
    assert world.crashes == []
    assert [type(outcome) for _, outcome in world.outcomes] == [Succeeded] * 3
    assert world.runner.state().total_restarts == 0


def test_a_process_that_holds_too_much_memory_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    world.pass_time(recycling.LOOK_S)
    assert len(world.alive) == 1

    world.used = 2 * GIB
    world.pass_time(recycling.LOOK_S)

    assert len(world.alive) == 2


def test_a_successor_that_does_not_get_ready_leaves_the_old_process_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    _, successor = world.alive
    successor.exit(1)

    world.work(old, "c")
    assert world.alive == [old], "not again at once"
    assert world.runner.state().recovery == "idle"
    assert len(world.crashes) == 1, "it is on record all the same"

    world.pass_time(AGAIN_S)
    world.work(old, "d")
    assert len(world.alive) == 2


def test_a_crash_of_the_old_process_is_a_crash_while_another_gets_ready_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    old, successor = world.alive

    old.exit(-11)
    successor.exit(-15)

    assert world.alive == []
    assert world.runner.state().recovery == "recovering"
    assert len(world.crashes) == 1
    world.pass_time(1.0)
    assert len(world.alive) == 1


def test_a_stop_ends_both(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    world.submit("c")

    world.stop()

    assert world.alive == []
    assert [type(outcome) for _, outcome in world.outcomes] == [Succeeded, Succeeded, Returned]


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_while_processes_are_recycled_no_task_is_lost(steps: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = Recycled(monkeypatch)

        for step in steps:
            step(world)

            assert len(world.alive) <= 3, "one at work, one getting ready, one on its way out"
            assert not (world.runner.ready and world.stopped)
            assert len(world.submitted) == len(world.outcomes) or world.alive, "a task waits for nobody"

        world.stop()
    assert Counter(task_id for task_id, _ in world.outcomes) == Counter(world.submitted)
    assert world.alive == []
    assert world.runner.state().pids == ()


def test_without_limits_nothing_grows_old() -> None:
    age = Age(ProcessSettings())
    for _ in range(1000):
        age.answered()

    assert age.too_old(0.0, 2**50) is None
    assert not age.watches_memory


def test_a_containers_limit_leaves_less_than_the_machine_has(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert recycling.free_bytes(tmp_path) == 600

    (tmp_path / "memory.max").write_text("max\n")
    assert recycling.free_bytes(tmp_path) > 2**20


# Other code takes over ---------------------------------------------------------------------------

NEXT = replace(SPEC, argv=("next",), cwd=Path("/next"), commit="next")


def hand_over(world: Recycled) -> list[str | None]:
    """Let other code take over; returns the answers to that, which come later."""
    answered: list[str | None] = []
    world.runner.hand_over(NEXT, answered.append)
    return answered


def test_other_code_takes_over_when_it_is_ready_and_is_what_restarts_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.submit("slow")
    answered = hand_over(world)
    old, standby = world.alive
    assert (answered, world.runner.ready) == ([], True)

    standby.listener.on_event(Ready())
    assert answered == [None]
    answers("slow")(old)
    old.exit(0)
    standby.exit(-9)

    assert world.outcomes == [("slow", Succeeded(b"1"))]
    assert [crash.commit for crash in world.crashes] == ["next"]
    world.pass_time(1_000)
    assert world.children[-1].launch.argv == ("next",)
    assert world.runner.folders() == {NEXT.cwd}


def test_other_code_that_does_not_get_ready_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    answered = hand_over(world)

    world.alive[1].exit(3)

    assert answered == ["its process did not get ready: gone"]
    assert world.alive == [old]
    assert world.runner.ready
    assert world.runner.state().consecutive_fails == 0


def test_other_code_is_not_started_without_memory_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch, free=GIB // 4)

    answered = hand_over(world)

    assert answered == ["no memory for two processes: the one at work holds 512 MiB, 256 MiB are free"]
    assert len(world.alive) == 1


def test_a_crash_of_the_old_code_does_not_end_the_new(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    answered = hand_over(world)
    _, standby = world.alive

    old.exit(-11)
    assert world.runner.state().recovery == "recovering"
    standby.listener.on_event(Ready())

    assert answered == [None]
    assert world.runner.state().recovery == "idle"
    world.pass_time(1_000)
    assert world.alive == [standby], "the restart of the old code is called off"


def test_other_code_takes_the_place_of_a_successor_of_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    old, recycled = world.alive
    answered = hand_over(world)
    recycled.exit(-15)
    _, standby = world.alive

    standby.listener.on_event(Ready())
    old.exit(0)

    assert answered == [None]
    assert world.alive == [standby]
    assert world.crashes == []


def test_a_crash_of_the_old_code_leaves_the_process_of_the_new_undisturbed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    hand_over(world)
    _, standby = world.alive

    old.exit(-11)

    assert standby.asked_to_end == []


def test_a_replacement_of_the_old_process_leaves_the_process_of_the_new_code_undisturbed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.submit("slow", run_limit_s=3.0)
    answered = hand_over(world)
    _, standby = world.alive

    world.pass_time(3.0)
    assert (old.asked_to_end, standby.asked_to_end) == ([(0.0, SPEC.stop_grace_s)], [])

    standby.listener.on_event(Ready())
    assert answered == [None]


def test_a_standby_of_the_same_code_is_asked_to_end_when_the_process_it_should_replace_crashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    old, standby = world.alive

    old.exit(-11)

    assert len(standby.asked_to_end) == 1


def test_an_old_process_that_is_not_ready_is_stopped_when_other_code_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (crashed,) = world.alive
    crashed.exit(-11)
    world.pass_time(1.0)
    (starting,) = world.alive
    hand_over(world)
    starting, standby = world.alive

    standby.listener.on_event(Ready())

    assert len(starting.asked_to_end) == 1, "nothing else would ever end it"
    starting.exit(-15)
    assert world.alive == [standby]
    assert world.runner.ready
    assert world.runner.state().recovery == "idle"


def test_an_old_process_that_is_idle_is_asked_to_leave_at_once_when_another_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    old, standby = world.alive

    standby.listener.on_event(Ready())

    assert len(old.asked_to_end) == 1
    assert standby.asked_to_end == []


def test_an_old_process_with_a_task_is_asked_to_leave_when_it_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    world.submit("slow")
    old, standby = world.alive
    standby.listener.on_event(Ready())
    assert old.asked_to_end == []

    answers("slow")(old)

    assert len(old.asked_to_end) == 1


def test_a_redeployment_beside_a_process_that_closes_leaves_it_closed_when_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch, free=GIB // 4)
    (old,) = world.alive
    world.submit("a")
    world.submit("b")
    world.submit("slow")
    answers("a")(old)
    answers("b")(old)
    assert not world.runner.ready
    monkeypatch.setattr(recycling, "free_bytes", lambda: 64 * GIB)
    answered = hand_over(world)

    world.alive[1].exit(3)

    assert answered == ["its process did not get ready: gone"]
    assert not world.runner.ready, "it is still too old"
    answers("slow")(old)
    assert len(old.asked_to_end) == 1


def test_a_second_redeployment_at_the_same_time_is_refused_and_the_first_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    answered = hand_over(world)

    with pytest.raises(RuntimeError, match="REDEPLOY cannot happen while REDEPLOYING"):
        hand_over(world)

    world.alive[1].listener.on_event(Ready())
    assert answered == [None]


def test_the_folder_of_the_old_code_is_in_use_until_its_process_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    hand_over(world)
    world.alive[1].listener.on_event(Ready())
    assert world.runner.folders() == {SPEC.cwd, NEXT.cwd}

    old.exit(0)

    assert world.runner.folders() == {NEXT.cwd}


def test_a_process_of_other_code_that_took_over_can_be_replaced_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    hand_over(world)
    _, standby = world.alive
    standby.listener.on_event(Ready())
    old.exit(0)
    world.submit("a")

    world.runner.cancel("a", "asked")
    standby.exit(-15)

    assert [child.launch.argv for child in world.alive] == [("next",)]
    assert world.runner.state().recovery == "idle"


# How old a process is ----------------------------------------------------------------------------


def test_a_process_that_took_over_is_as_young_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    old, standby = world.alive
    standby.listener.on_event(Ready())
    old.exit(0)

    world.work(standby, "c")
    assert world.alive == [standby]

    world.work(standby, "d")
    assert len(world.alive) == 2


def test_a_process_that_was_started_after_a_crash_is_as_young_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (crashed,) = world.alive
    world.work(crashed, "a")
    crashed.exit(-11)
    world.pass_time(1.0)
    (fresh,) = world.alive
    fresh.listener.on_event(Ready())

    world.work(fresh, "b")

    assert world.alive == [fresh]


def test_no_process_is_recycled_while_the_one_before_it_retires(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    world.submit("slow")
    old, standby = world.alive
    standby.listener.on_event(Ready())

    world.work(standby, "c", "d")
    assert world.alive == [old, standby], "a process that is slow to leave is not joined by more and more"

    answers("slow")(old)
    old.exit(0)
    world.work(standby, "e")
    assert len(world.alive) == 2


def test_a_process_that_is_being_ended_is_not_recycled_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.submit("a", run_limit_s=3.0)
    world.submit("b")
    world.submit("c")
    world.pass_time(3.0)

    answers("b")(old)
    answers("c")(old)

    assert world.alive == [old]


STEPS_AND_REDEPLOYMENTS = st.one_of(
    STEPS,
    st.just(Recycled.redeploy),
    st.sampled_from([GIB // 4, 64 * GIB]).map(lambda free: lambda world: world.set_free(free)),
)


@settings(max_examples=500)
@given(st.lists(STEPS_AND_REDEPLOYMENTS, max_size=50))
def test_whatever_happens_while_code_is_redeployed_no_task_is_lost_and_each_request_is_answered(
    steps: list[Step],
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = Recycled(monkeypatch)

        for step in steps:
            step(world)

            assert world.asked - len(world.answered) in (0, 1), "one at a time"
            assert not (world.runner.ready and world.stopped)
            assert len(world.submitted) == len(world.outcomes) or world.alive, "a task waits for no process"
            if world.answered.count(None):
                assert NEXT.cwd in world.runner.folders(), "what has taken over is what is started next"

        world.stop()
    assert len(world.answered) == world.asked
    assert Counter(task_id for task_id, _ in world.outcomes) == Counter(world.submitted)
    assert world.alive == []
    assert world.runner.state().pids == ()
