"""A task whose run ended in a crash before runs alone in the process, and costs no other task anything."""

import pytest

from appliance.dispatch.intake import HOLD_S
from appliance.process.outcome import Crashed, Succeeded
from appliance.queue.settlement import Complete, Retry, Return
from tests.unit.dispatching import World, task


@pytest.fixture
def world() -> World:
    return World(concurrency=4)


def settled(world: World) -> dict[str, type]:
    return {one.lease.task_id: type(one) for one in world.broker.settled}


def push_while_others_run(world: World, *ids: str) -> None:
    """Some run, and then a suspect comes."""
    world.broker.push(*(task(one) for one in ids))
    world.settle_down()
    world.broker.push(task("suspect", crashes=1))
    world.dispatcher._intake.recheck()
    world.settle_down()
    assert world.runner.running == list(ids)


def test_a_suspect_waits_until_nothing_runs_and_nothing_is_started_beside_it(world: World) -> None:
    push_while_others_run(world, "a", "b")
    assert world.dispatcher.slots.fetched_ahead == 1
    world.broker.push(task("c"), task("d"))

    world.runner.answer("a")
    world.settle_down()
    assert world.runner.running == ["b"]
    world.runner.answer("b")
    world.settle_down()
    assert world.runner.running == ["suspect"]

    world.runner.answer("suspect")
    world.dispatcher._intake.recheck()
    world.settle_down()
    assert world.runner.running == ["c", "d"]


def test_nothing_is_taken_while_a_suspect_runs_or_waits(world: World) -> None:
    push_while_others_run(world, "a")
    world.broker.push(task("late"))
    world.dispatcher._intake.recheck()
    world.asked("exchange")

    world.settle_down()
    world.runner.answer("a")
    world.settle_down()
    assert world.runner.running == ["suspect"]
    world.settle_down()

    assert [ask for _, asks in world.asked("exchange") for ask in asks] == []


def test_suspects_run_one_after_the_other(world: World) -> None:
    world.broker.push(task("s1", crashes=1), task("s2", crashes=3))
    world.settle_down()
    assert world.runner.running == ["s1"]

    world.runner.answer("s1", Crashed("SIGSEGV"))
    world.settle_down()
    assert world.runner.running == ["s2"]
    world.runner.answer("s2", Succeeded(b"1"))
    world.settle_down()

    assert settled(world) == {"s1": Retry, "s2": Complete}
    assert world.dispatcher.slots.room(world.clock.now_s) == 4


def test_a_suspect_that_waits_is_neither_late_nor_lost_and_keeps_its_lease(world: World) -> None:
    push_while_others_run(world, "a")

    world.tick(after_s=100 * HOLD_S)
    world.tick(after_s=3600)

    assert settled(world) == {}
    assert {lease.task_id for lease in world.dispatcher.held()} == {"a", "suspect"}


def test_a_suspect_that_waits_is_returned_when_the_process_is_not_ready_any_more(world: World) -> None:
    world.broker.push(task("s1", crashes=1), task("s2", crashes=1))
    world.settle_down()

    world.runner.ready = False
    world.runner.answer("s1", Crashed("SIGSEGV"))
    world.settle_down()

    assert settled(world) == {"s1": Retry, "s2": Return}
    assert world.dispatcher.slots.empty


def test_a_suspect_that_waits_is_returned_at_a_stop(world: World) -> None:
    push_while_others_run(world, "a")

    world.dispatcher.close_intake()
    world.settle_down()

    assert settled(world) == {"suspect": Return}


def test_a_suspect_that_waits_can_be_cancelled(world: World) -> None:
    push_while_others_run(world, "a")

    world.dispatcher.cancel("suspect", "asked")
    world.settle_down()

    assert "suspect" in settled(world)
    world.broker.push(task("b"))
    world.dispatcher._intake.recheck()
    world.settle_down()
    assert world.runner.running == ["a", "b"]


def test_a_suspect_that_the_runner_refuses_holds_up_nothing(world: World) -> None:
    world.runner.refuses = True
    world.broker.push(task("suspect", crashes=1))
    world.settle_down()
    world.runner.refuses = False

    world.broker.push(task("b"))
    world.dispatcher._intake.recheck()
    world.settle_down()

    assert world.runner.running == ["b"]


def test_where_each_task_has_its_own_process_suspects_need_not_be_alone() -> None:
    world = World(concurrency=4, shared_process=False)
    world.broker.push(task("a"), task("suspect", crashes=1), task("b"))

    world.settle_down()

    assert world.runner.running == ["a", "suspect", "b"]
