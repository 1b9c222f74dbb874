"""A take that Redis may carry out later than it was meant, and what becomes of tasks when the worker ends."""

import pytest

from appliance.dispatch.reconciler import LAST_LOOK_S
from appliance.errors import QueueUnavailable
from appliance.queue.settlement import Return
from tests.unit.dispatching import HIGH, LOW, World, task


@pytest.fixture
def world() -> World:
    return World()


def kept(world: World) -> dict[str, type]:
    return {one.lease.task_id: type(one) for one in world.dispatcher.outcomes()}


def with_one_fetched_ahead(world: World) -> None:
    world.make_tasks_short()
    world.broker.push(task("running"), task("ahead"))
    world.settle_down()
    assert (world.runner.running, world.dispatcher.slots.fetched_ahead) == (["running"], 1)


def test_a_take_that_came_too_late_says_nothing_of_its_queue_and_is_made_again(world: World) -> None:
    world.broker.push(task("a"))
    world.broker.too_late = True
    assert world.tick() == 0
    assert not world.runner.running
    assert world.dispatcher.describe()["queues"][0]["supply"] == "maybe"

    world.broker.too_late = False
    world.settle_down()
    assert world.runner.running == ["a"]


def test_what_arrived_is_claimed_again_where_the_claim_came_too_late(world: World) -> None:
    world.settle_down()
    world.broker.push(task("a"))
    world.watches[HIGH].arrived.append(b"a")
    world.broker.too_late = True
    world.tick()
    assert list(world.watches[HIGH].arrived) == [b"a"]

    world.broker.too_late = False
    world.settle_down()
    assert world.runner.running == ["a"]


def test_what_was_fetched_ahead_is_among_what_is_kept_when_the_worker_stops_in_a_hang(world: World) -> None:
    with_one_fetched_ahead(world)
    world.dispatcher.close_intake()
    # The tick that would let go of it is never reached: it stands in an exchange.
    assert kept(world) == {"ahead": Return}


def test_what_came_as_the_worker_was_stopping_is_kept_too(world: World) -> None:
    world.broker.push(task("late"))
    world.broker.meanwhile = world.dispatcher.close_intake
    world.tick()
    assert kept(world) == {"late": Return}


def test_what_was_fetched_ahead_of_a_process_that_crashed_is_kept_while_redis_hangs(world: World) -> None:
    with_one_fetched_ahead(world)
    world.runner.ready = False
    assert kept(world) == {"ahead": Return}


def test_what_waits_for_its_turn_is_not_kept_while_the_worker_works(world: World) -> None:
    with_one_fetched_ahead(world)
    assert kept(world) == {}


def test_the_end_waits_until_no_take_can_be_carried_out_any_more(world: World) -> None:
    begun_s = world.clock.now_s
    world.broker.takes_over_s = begun_s + 1
    assert world.dispatcher.finish(5.0)
    assert world.clock.now_s == pytest.approx(begun_s + 1, abs=0.05)


def test_the_end_waits_for_a_look_after_takes_whose_replies_were_lost(world: World) -> None:
    world.broker.failure = QueueUnavailable("connection lost")
    world.tick()
    world.broker.failure, world.broker.takes_over_s = None, world.clock.now_s
    world.broker.lost_takes = {HIGH: ["lost"]}
    world.clock.meanwhile = lambda: world.dispatcher.tick() and None

    begun_s = world.clock.now_s
    assert world.dispatcher.finish(5.0)

    assert world.asked("reconcile") == [(HIGH, []), (LOW, [])]
    assert world.clock.now_s < begun_s + LAST_LOOK_S


def test_the_end_waits_no_longer_for_a_look_at_a_redis_that_is_gone(world: World) -> None:
    world.broker.failure = QueueUnavailable("connection refused")
    world.tick()
    begun_s = world.broker.takes_over_s = world.clock.now_s
    assert world.dispatcher.finish(5.0)
    assert world.clock.now_s == pytest.approx(begun_s + LAST_LOOK_S, abs=0.05)
