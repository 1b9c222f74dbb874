"""Recycling: a process that has grown old is replaced between tasks, without a pause where there is room."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config.settings import ProcessSettings, RecoverySettings
from appliance.process import recycling
from appliance.process.long_running import LongRunning
from appliance.process.protocol import Ready
from appliance.process.recycling import AGAIN_S, Age
from appliance.process.work import Returned, Succeeded
from tests.unit.test_supervision import SPEC, STEPS, FakeChild, Step, World, answers

GIB = 2**30


class Recycled(World):
    """A runner that replaces its process after two tasks, or above one GiB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int = 64 * GIB, used: int = GIB // 2) -> None:
        monkeypatch.setattr(recycling, "free_bytes", lambda: free)
        monkeypatch.setattr(recycling, "memory_bytes", lambda _pid: self.used)
        self.used = used
        super().__init__(self._make_runner)  # type: ignore[arg-type]
        self.alive[0].listener.on_event(Ready())

    @staticmethod
    def _make_runner(parent, spec, recovery, clock, hooks, make_child) -> LongRunning:  # type: ignore[no-untyped-def]
        limits = ProcessSettings(max_tasks=2, max_memory_bytes=GIB)
        return LongRunning(parent, SPEC, RecoverySettings(), clock, hooks, make_child, limits)

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


def test_a_crash_of_the_old_process_is_a_crash_whoever_is_getting_ready(
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


@settings(max_examples=300, deadline=None)
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

NEXT = replace(SPEC, commit="next")


def heirs(world: Recycled) -> list[str | None]:
    """What was said of it when other code was asked to take over."""
    said: list[str | None] = []
    world.runner.succeed(NEXT, said.append)
    return said


def test_other_code_takes_over_when_it_is_ready_and_is_what_restarts_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.submit("slow")
    said = heirs(world)
    old, heir = world.alive
    assert (said, world.runner.ready) == ([], True)

    heir.listener.on_event(Ready())
    assert said == [None]
    answers("slow")(old)
    old.exit(0)
    heir.exit(-9)

    assert world.outcomes == [("slow", Succeeded(b"1"))]
    assert [crash.commit for crash in world.crashes] == ["next"]
    world.pass_time(1_000)
    assert world.runner.folders() == {NEXT.cwd}


def test_other_code_that_does_not_get_ready_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    said = heirs(world)

    world.alive[1].exit(3)

    assert said == ["its process did not get ready: gone"]
    assert world.alive == [old]
    assert world.runner.ready
    assert world.runner.state().consecutive_fails == 0


def test_other_code_is_not_started_without_memory_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch, free=GIB // 4)

    said = heirs(world)

    assert said == ["no memory for two processes: the one at work holds 512 MiB, 256 MiB are free"]
    assert len(world.alive) == 1


def test_a_crash_of_the_old_code_does_not_end_the_new(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    said = heirs(world)
    _, heir = world.alive

    old.exit(-11)
    assert world.runner.state().recovery == "recovering"
    heir.listener.on_event(Ready())

    assert said == [None]
    assert world.runner.state().recovery == "idle"
    world.pass_time(1_000)
    assert world.alive == [heir], "the restart of the old code is called off"


def test_other_code_takes_the_place_of_a_successor_of_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recycled(monkeypatch)
    (old,) = world.alive
    world.work(old, "a", "b")
    old, recycled = world.alive
    said = heirs(world)
    recycled.exit(-15)
    _, heir = world.alive

    heir.listener.on_event(Ready())
    old.exit(0)

    assert said == [None]
    assert world.alive == [heir]
    assert world.crashes == []
