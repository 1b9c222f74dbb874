"""The runner of one-shot code on a pretended process: who waits, what counts, what becomes of the rest."""

from dataclasses import replace
from pathlib import Path

from appliance.process.answers import Ready
from appliance.process.outcome import Cancelled, Returned, Succeeded, TimedOut
from appliance.process.runners.one_shot import OneShot
from tests.unit.test_supervision import SPEC, World, answers, works

NEXT = replace(SPEC, argv=("next",), cwd=Path("/next"))


def lingering_world() -> World:
    """A world whose first process has answered its task, a, and stays."""
    world = World(OneShot)
    world.submit("a")
    works(world.children[0])
    assert world.outcomes == [("a", Succeeded(b"1"))]
    return world


def waiting_to_restart() -> World:
    """A world whose first process failed to start."""
    world = World(OneShot)
    world.submit("a")
    world.children[0].exit(1)
    assert not world.runner.ready
    return world


def test_a_process_that_lingers_keeps_its_place_and_the_task_behind_it_starts_when_it_is_gone() -> None:
    world = lingering_world()
    (lingering,) = world.children

    world.submit("b")
    assert world.alive == [lingering], "never more processes than tasks were submitted at once"

    lingering.exit(0)
    assert len(world.children) == 2
    works(world.children[1])
    assert world.outcomes[1:] == [("b", Succeeded(b"1"))]


def test_a_lingering_process_holds_up_one_task_and_no_more() -> None:
    world = lingering_world()
    world.submit("b")

    world.submit("c")

    assert len(world.alive) == 2, "one lingers, and c has a place that nothing holds"
    works(world.children[1])
    assert world.outcomes[-1] == ("c", Succeeded(b"1"))


def test_the_end_of_another_process_does_not_free_the_place_of_one_that_lingers() -> None:
    world = lingering_world()
    (lingering,) = world.children
    world.submit("b")
    world.submit("c")
    world.children[1].listener.on_event(Ready())

    world.children[1].exit(-9)

    assert world.alive == [lingering]


def test_a_task_that_waits_for_a_place_times_out_at_its_deadline() -> None:
    world = lingering_world()
    world.submit("b", deadline_monotonic_s=world.clock.now_s + 2.0)

    world.pass_time(1.9)
    assert len(world.outcomes) == 1

    world.pass_time(0.1)
    assert world.outcomes[1:] == [("b", TimedOut("deadline: it passed before the run"))]


def test_a_task_that_waits_for_a_place_can_be_cancelled() -> None:
    world = lingering_world()
    world.submit("b")

    world.runner.cancel("b", "asked")
    world.children[0].exit(0)

    assert world.outcomes[1:] == [("b", Cancelled("asked"))]
    assert world.alive == []


def test_a_task_that_waits_for_a_place_is_returned_by_a_stop_and_starts_nothing() -> None:
    world = lingering_world()
    world.submit("b")

    world.stop()

    assert world.outcomes[1:] == [("b", Returned("the worker stops"))]


def test_an_answer_of_a_process_that_is_being_ended_does_not_change_the_times_it_was_given() -> None:
    world = World(OneShot)
    world.submit("a")
    (child,) = world.children
    child.listener.on_event(Ready())
    child.listener.on_broken("closed its stdin and lived on")

    answers("a")(child)

    assert world.outcomes == [("a", Succeeded(b"1"))]
    assert child.asked_to_end == [(0.0, SPEC.stop_grace_s)]


def test_a_failure_of_a_process_that_was_started_before_the_one_counted_is_part_of_it() -> None:
    world = World(OneShot)
    world.submit("a")
    world.submit("b")
    first, second = world.children
    world.pass_time(1.0)
    first.exit(1)
    world.pass_time(1.0)
    assert world.runner.ready

    second.exit(1)

    assert world.runner.ready
    assert world.runner.state().consecutive_fails == 1


def test_a_process_that_gets_ready_ends_the_consecutive_failures() -> None:
    world = waiting_to_restart()
    world.pass_time(1.0)
    assert world.runner.state().consecutive_fails == 1

    world.submit("b")
    works(world.children[1])

    assert world.runner.state().consecutive_fails == 0
    assert world.runner.state().recovery == "idle"


def test_other_code_opens_the_intake_that_a_failure_closed() -> None:
    world = waiting_to_restart()
    answered: list[str | None] = []

    world.runner.hand_over(NEXT, answered.append)

    assert answered == [None]
    assert world.runner.ready
    world.submit("b")
    assert world.children[1].launch.argv == ("next",)


def test_a_process_of_the_code_before_that_fails_to_start_is_no_failure_of_the_new_code() -> None:
    world = World(OneShot)
    world.submit("a")
    world.pass_time(1.0)
    world.runner.hand_over(NEXT, lambda _: None)

    world.children[0].exit(1)

    assert world.runner.ready
    assert world.runner.state().consecutive_fails == 0


def test_the_folder_of_the_code_before_is_in_use_until_its_last_process_is_gone() -> None:
    world = World(OneShot)
    world.submit("a")
    world.runner.hand_over(NEXT, lambda _: None)
    assert world.runner.folders() == {SPEC.cwd, NEXT.cwd}

    world.children[0].exit(0)

    assert world.runner.folders() == {NEXT.cwd}
