"""The dispatcher tick by tick: Redis, process and time do what the test says."""

import gevent
import pytest
from structlog.testing import capture_logs

from appliance.dispatch import dispatcher
from appliance.dispatch.intake import HOLD_S, PAUSED_RECHECK_S, REFUSED_DELAYS
from appliance.dispatch.outage import NODE_DELAYS, REDIS_DELAYS, UNHEALTHY_AFTER
from appliance.dispatch.pace import EARLY_S, SPARE_S, WORTHWHILE
from appliance.dispatch.prefetch import HOLD_S as AHEAD_HOLD_S
from appliance.dispatch.prefetch import LOOK_S
from appliance.dispatch.unsettled import POSTPONE_S
from appliance.errors import QueueNodeUnavailable, QueueRejected, QueueUnavailable
from appliance.event import Event
from appliance.observe.pulse import STUCK_AFTER_S, Pulse
from appliance.process.outcome import Crashed, Failed
from appliance.queue.replies import Ask, FenceReply, Taken
from appliance.queue.settlement import Archive, Complete, Defer, Retry, Return
from tests.unit.dispatching import HIGH, LOW, World, task

#: Longer than anything is kept from others without a free slot.
LONG_S = HOLD_S + 0.001
LOST = QueueUnavailable("connection lost")
NODE_LOST = QueueNodeUnavailable("its node does not answer")


@pytest.fixture
def world() -> World:
    return World()


def busy(world: World, *ahead: str) -> World:
    """One task in the process and the others fetched ahead of it."""
    world.make_tasks_short()
    world.broker.push(task("running"), *(task(task_id) for task_id in ahead))
    world.settle_down()
    assert world.runner.running == ["running"]
    world.asked("exchange")
    return world


def settled(world: World) -> dict[str, type]:
    return {one.lease.task_id: type(one) for one in world.broker.settled}


# One round trip ----------------------------------------------------------------------------------


def test_what_finished_is_settled_and_the_next_taken_in_one_exchange(world: World) -> None:
    world.broker.push(task("a"), task("b"))
    world.settle_down()
    world.asked("exchange")

    world.runner.answer("a")
    world.tick()

    ((settlements, asks),) = world.asked("exchange")
    assert [one.lease.task_id for one in settlements] == ["a"]
    assert asks == [Ask(HIGH, 1)]
    assert world.runner.running == ["b"]


def test_outcomes_of_very_short_tasks_wait_a_millisecond_for_others(world: World) -> None:
    busy(world, *(f"t{n}" for n in range(32)))

    world.runner.answer("running")
    assert world.tick() == pytest.approx(POSTPONE_S)
    world.runner.answer("t0")
    assert world.tick(after_s=POSTPONE_S / 2) == pytest.approx(POSTPONE_S / 2)
    assert world.asked("exchange") == []

    world.tick(after_s=POSTPONE_S)
    assert settled(world) == {"running": Complete, "t0": Complete}
    assert len(world.asked("exchange")) == 1


def test_outcomes_wait_for_others_only_while_there_is_work_and_tasks_are_taken(world: World) -> None:
    busy(world, *(f"t{n}" for n in range(32)))
    world.dispatcher.close_intake()

    world.runner.answer("running")
    world.tick()

    assert "running" in settled(world)


def test_an_outcome_wakes_the_dispatcher_unless_it_waits_for_more_of_them(world: World) -> None:
    busy(world, *(f"t{n}" for n in range(32)))

    world.wake.clear()
    world.runner.answer("running")
    assert world.wake.is_set()

    assert world.tick() == pytest.approx(POSTPONE_S)
    world.wake.clear()
    world.runner.answer("t0")
    assert not world.wake.is_set(), "it looks in a moment anyway"

    for n in range(1, 32):
        world.runner.answer(f"t{n}")
    assert world.wake.is_set(), "little is left to do"

    world.settle_down()
    world.broker.push(task("last"))
    world.dispatcher.quiet(on=False)
    world.settle_down()
    world.wake.clear()
    world.runner.answer("last")
    assert world.wake.is_set(), "it waits no longer for more"


def test_as_many_are_asked_for_as_there_are_slots_and_as_are_worth_fetching_ahead() -> None:
    world = World(concurrency=2)
    world.make_tasks_short()
    world.broker.push(*(task(f"t{n}") for n in range(100)))

    world.settle_down()
    world.runner.answer("t0")
    world.tick(after_s=POSTPONE_S)

    asks = [asks for _, asks in world.asked("exchange")]
    assert asks == [[Ask(HIGH, 2 + WORTHWHILE)]]
    assert len(world.runner.running) == 2
    assert world.dispatcher.slots.fetched_ahead == WORTHWHILE - 1


def test_the_next_task_is_fetched_just_before_the_run_may_end(world: World) -> None:
    for _ in range(3):
        world.dispatcher.slots.ahead.pace.ran(0.2)
        world.dispatcher.slots.ahead.pace.exchanged(0.02)
    world.broker.push(task("running"), task("next"))
    world.broker.takes_s = 0.02
    rest_s = world.settle_down()
    assert (world.runner.running, world.dispatcher.slots.fetched_ahead) == (["running"], 0)
    assert rest_s == pytest.approx(0.2 - 0.02 - SPARE_S)

    world.tick(after_s=rest_s + 0.0001)

    assert world.dispatcher.slots.fetched_ahead == 1
    assert world.clock.now_s - world.dispatcher.slots.in_process()[0].since_s < 0.2, "before it ends"


def test_what_can_travel_with_an_outcome_is_fetched_a_little_earlier(world: World) -> None:
    for _ in range(3):
        world.dispatcher.slots.ahead.pace.ran(EARLY_S)
    world.broker.push(*(task(f"t{n}") for n in range(9)))
    world.settle_down()
    world.asked("exchange")

    world.runner.answer("t0")
    world.settle_down()

    ((settlements, asks),) = world.asked("exchange")
    assert (len(settlements), asks) == (1, [Ask(HIGH, 1)])


def test_a_task_of_which_the_queue_has_none_is_not_asked_for_again_and_again(world: World) -> None:
    for _ in range(3):
        world.dispatcher.slots.ahead.pace.ran(0.02)
    world.broker.push(task("running"))
    world.settle_down()
    world.asked("exchange")

    for _ in range(10):
        world.tick(after_s=0.0019)

    assert [ask for _, asks in world.asked("exchange") for ask in asks] == [Ask(HIGH, 1), Ask(LOW, 1)]


def test_the_time_of_a_run_counts_from_its_start_and_not_from_the_take(world: World) -> None:
    busy(world, "waiting")
    world.clock.now_s += 0.004
    world.runner.answer("running")
    world.clock.now_s += 0.002

    assert world.dispatcher.slots.report()[-1].age_s == pytest.approx(0.002)
    world.runner.answer("waiting")

    assert world.dispatcher.tallies[HIGH].runs.sum_s == pytest.approx(0.006)


def test_nothing_is_fetched_for_a_run_that_has_taken_longer_than_all_before(world: World) -> None:
    busy(world)
    world.broker.push(task("a"), task("b"))
    world.dispatcher.quiet(on=False)

    world.tick(after_s=1)

    assert (world.runner.running, world.dispatcher.slots.fetched_ahead) == (["running"], 0)


# The gate ----------------------------------------------------------------------------------------


def test_what_waits_for_a_slot_goes_back_uncharged_when_the_process_is_no_longer_ready(world: World) -> None:
    busy(world, "waiting")

    world.runner.ready = False
    world.settle_down()

    assert settled(world) == {"waiting": Return}
    assert world.runner.running == ["running"]


def test_what_waits_for_a_slot_is_not_started_after_the_gate_has_shut(world: World) -> None:
    busy(world, "waiting")
    world.dispatcher.close_intake()

    world.runner.answer("running")
    world.settle_down()

    assert settled(world) == {"running": Complete, "waiting": Return}
    assert world.runner.running == []


def test_a_task_the_process_did_not_take_goes_back_uncharged(world: World) -> None:
    world.runner.refuses = True
    world.broker.push(task("a"))

    world.settle_down()

    assert settled(world)["a"] is Return


def test_a_quiet_worker_takes_nothing_and_looks_again_when_it_is_over(world: World) -> None:
    world.settle_down()
    world.dispatcher.quiet(on=True)
    world.settle_down()
    world.broker.push(task("a"))
    world.asked("exchange")
    assert world.tick() is None
    assert not any(watch.armed for watch in world.watches.values())

    world.wake.clear()
    world.dispatcher.quiet(on=False)
    assert world.wake.is_set()
    world.settle_down()

    assert world.runner.running == ["a"]


def test_a_process_that_is_ready_again_before_anything_was_returned_gets_what_waits(world: World) -> None:
    busy(world, "waiting")
    world.runner.ready = False
    world.runner.answer("running")
    assert world.runner.running == []

    world.runner.ready = True
    world.tick(after_s=POSTPONE_S)

    assert world.runner.running == ["waiting"]


def test_nothing_is_watched_that_was_found_empty_after_the_gate_had_shut(world: World) -> None:
    world.broker.meanwhile = world.dispatcher.close_intake
    world.settle_down()
    assert not any(watch.armed for watch in world.watches.values())


def test_closing_wakes_it_so_that_it_lets_go_of_what_it_watches(world: World) -> None:
    world.settle_down()
    world.wake.clear()

    world.dispatcher.close_intake()

    assert world.wake.is_set()
    world.settle_down()
    assert not any(watch.armed for watch in world.watches.values())


def test_a_closed_worker_settles_what_runs_and_takes_no_more(world: World) -> None:
    world.broker.push(task("a"), task("b"))
    world.settle_down()
    world.dispatcher.close_intake()
    world.dispatcher.quiet(on=False)

    world.runner.answer("a")
    world.settle_down()

    assert settled(world) == {"a": Complete}
    assert world.runner.running == []


def test_a_degraded_worker_defers_one_task_and_looks_again_five_seconds_later(world: World) -> None:
    world.runner.ready, world.runner.recovery = False, "degraded"
    world.broker.push(task("a"), task("b"))

    with capture_logs() as events:
        assert world.settle_down() == pytest.approx(5)
    assert settled(world) == {"a": Defer}
    assert {"event": "task.deferred", "task_id": "a", "queue": HIGH, "log_level": "info"} in events

    world.clock.now_s += 5
    world.settle_down()
    assert settled(world) == {"a": Defer, "b": Defer}


def test_a_degraded_worker_that_found_every_queue_empty_asks_them_again(world: World) -> None:
    world.runner.ready, world.runner.recovery = False, "degraded"
    asked = []
    for _ in range(4):
        world.settle_down()
        asked += [ask.queue for _, asks in world.asked("exchange") for ask in asks]
        world.clock.now_s += 5
    assert asked == [HIGH, LOW, HIGH]


def test_a_degraded_worker_with_the_policy_hold_takes_nothing() -> None:
    world = World(requeue_degraded=False)
    world.runner.ready, world.runner.recovery = False, "degraded"
    world.broker.push(task("a"))

    assert world.settle_down() is None
    assert world.asked("exchange") == []


@pytest.mark.parametrize(
    ("disturb", "word"),
    [
        (lambda world: None, "open"),
        (lambda world: setattr(world.runner, "ready", False), "not ready"),
        (lambda world: world.dispatcher.quiet(on=True), "quiet"),
        (lambda world: world.dispatcher.close_intake(), "closed"),
        (lambda world: setattr(world.broker, "failure", LOST), "redis unavailable"),
    ],
    ids=["open", "not ready", "quiet", "closed", "redis unavailable"],
)
def test_the_snapshot_says_why_nothing_is_taken(world: World, disturb, word: str) -> None:  # type: ignore[no-untyped-def]
    disturb(world)
    world.tick()
    assert world.dispatcher.describe()["intake"] == word


# Redis unavailable -------------------------------------------------------------------------------


def test_an_unavailable_redis_is_tried_more_and_more_slowly_and_left_alone_in_between(world: World) -> None:
    world.broker.failure = LOST
    for n in range(10):
        delay_s = world.tick()
        longest_s = min(REDIS_DELAYS.first_s * 2**n, REDIS_DELAYS.longest_s)
        assert delay_s is not None
        assert longest_s / 2 <= delay_s <= longest_s

        world.asked("reconcile"), world.asked("exchange")
        assert world.tick(after_s=delay_s * 0.9) == pytest.approx(delay_s * 0.1)
        assert world.broker.calls == []
        world.clock.now_s += delay_s * 0.2


def test_an_outage_is_logged_when_it_begins_and_when_it_is_over(world: World) -> None:
    world.broker.failure = LOST
    with capture_logs() as events:
        for _ in range(3):
            world.tick(after_s=10)
        world.broker.failure = None
        world.tick(after_s=10)
        world.tick(after_s=10)

    assert [event["event"] for event in events] == ["dispatch.redis_unavailable", "dispatch.redis_available"]
    assert events[0]["error"] == "connection lost"
    assert events[1]["failures"] == 3
    assert {event["parent"] for event in events} == {"inference"}


def test_after_an_outage_lost_takes_are_looked_for_before_any_take_and_once_more(
    world: World,
) -> None:
    busy(world)
    world.runner.answer("running")
    world.broker.failure = LOST
    world.broker.takes_over_s = world.clock.now_s + POSTPONE_S + 10
    world.tick(after_s=POSTPONE_S)
    world.broker.calls.clear()

    world.broker.failure = None
    world.tick(after_s=1)
    assert [name for name, _ in world.broker.calls] == ["reconcile", "reconcile", "exchange"]
    assert world.asked("reconcile") == [(HIGH, ["running"]), (LOW, [])], "what is unsettled is known"

    assert world.settle_down() == pytest.approx(9)
    assert world.asked("reconcile") == []
    world.tick(after_s=9)
    assert len(world.asked("reconcile")) == 2, "when the take that was lost holds no more"
    world.tick(after_s=100)
    assert world.asked("reconcile") == []


def test_lost_takes_that_were_found_are_named(world: World) -> None:
    world.broker.failure = LOST
    world.tick()
    world.broker.failure = None
    world.broker.lost_takes[HIGH] = ["x"]
    with capture_logs() as events:
        world.tick(after_s=1)
    found = [event for event in events if event["event"] == "queue.reconciled"]
    assert [(event["queue"], event["task_ids"]) for event in found] == [(HIGH, ["x"])]


def test_what_was_found_empty_before_an_outage_is_asked_again() -> None:
    world = World(concurrency=2)
    world.broker.push(task("a"))
    world.settle_down()
    world.broker.failure = LOST
    world.runner.answer("a")
    world.tick()
    world.broker.failure = None
    world.asked("exchange")

    world.settle_down()
    world.tick(after_s=1)

    assert [asks for _, asks in world.asked("exchange")] == [[Ask(HIGH, 2)]]


def test_a_slot_that_comes_free_during_an_outage_is_filled_with_what_was_fetched_ahead(world: World) -> None:
    busy(world, "waiting")
    world.broker.failure = LOST
    world.dispatcher.quiet(on=False)
    world.tick(after_s=POSTPONE_S)

    world.runner.answer("running")

    assert world.runner.running == ["waiting"]


def test_outcomes_wait_for_redis_and_their_leases_are_held(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()
    world.broker.failure = LOST
    world.runner.answer("a")
    world.tick()
    world.clock.now_s += 3

    assert [lease.task_id for lease in world.dispatcher.held()] == ["a"]
    assert world.dispatcher.backlog == (1, pytest.approx(3))
    assert [one.lease.task_id for one in world.dispatcher.outcomes()] == ["a"]

    world.broker.failure = None
    world.tick(after_s=1)
    assert settled(world) == {"a": Complete}
    assert world.dispatcher.held() == []
    assert world.dispatcher.backlog == (0, 0.0)


def test_an_outcome_that_is_not_collected_yet_counts_as_kept_and_held(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()

    world.runner.answer("a")

    assert world.dispatcher.backlog.outcomes == 1
    assert [lease.task_id for lease in world.dispatcher.held()] == ["a"]
    assert [one.lease.task_id for one in world.dispatcher.outcomes()] == ["a"]


def test_a_worker_counts_as_unhealthy_after_several_failures_and_not_before(world: World) -> None:
    world.broker.failure = LOST
    said = []
    for _ in range(UNHEALTHY_AFTER):
        said.append(world.dispatcher.redis_failing)
        world.tick(after_s=10)
    assert said == [False] * UNHEALTHY_AFTER
    assert world.dispatcher.redis_failing

    world.broker.failure = None
    world.tick(after_s=10)
    assert not world.dispatcher.redis_failing


# One node, one queue -----------------------------------------------------------------------------


def test_a_queue_whose_node_is_unavailable_leaves_the_others_alone(world: World) -> None:
    world.broker.down[HIGH] = NODE_LOST
    world.broker.push(task("a", LOW), task("b", LOW), task("c", HIGH))

    with capture_logs() as events:
        world.settle_down()
        world.runner.answer("a")
        delay_s = world.settle_down()
    assert settled(world) == {"a": Complete}
    assert world.runner.running == ["b"]
    assert [event["event"] for event in events if event["log_level"] == "warning"] == ["queue.unavailable"]
    assert delay_s is not None
    assert delay_s <= NODE_DELAYS.longest_s

    del world.broker.down[HIGH]
    world.runner.answer("b")
    with capture_logs() as events:
        world.tick(after_s=3)
        world.settle_down()
    assert world.runner.running == ["c"]
    told = [event["event"] for event in events if event["log_level"] == "info"]
    assert told == ["task.completed", "queue.available"]


def test_lost_takes_of_a_queue_are_looked_for_when_its_node_answers_again(world: World) -> None:
    world.settle_down()
    assert world.asked("reconcile") == []
    world.broker.down[HIGH] = NODE_LOST
    world.dispatcher.quiet(on=False)
    world.settle_down()
    assert world.asked("reconcile") == [], "not before it is tried again"
    world.broker.down.clear()

    world.tick(after_s=3)

    assert world.asked("reconcile") == [(HIGH, [])]


def test_a_queue_that_was_empty_is_asked_again_when_its_node_answers_again() -> None:
    world = World(concurrency=2)
    world.broker.push(task("a"))
    world.settle_down()
    world.broker.down[HIGH] = NODE_LOST
    world.runner.answer("a")
    world.asked("exchange")
    world.settle_down()
    assert not any(asks for _, asks in world.asked("exchange")), "what was believed of the other holds"
    world.broker.down.clear()

    world.tick(after_s=3)

    assert [asks for _, asks in world.asked("exchange")] == [[Ask(HIGH, 2)]]


def test_a_queue_is_refused_only_where_redis_said_so() -> None:
    world = World(concurrency=2, equal=True)
    world.broker.down[HIGH] = NODE_LOST
    world.broker.refuses[LOW] = QueueRejected("WRONGTYPE")

    world.tick()

    assert [queue["supply"] for queue in world.dispatcher.describe()["queues"]] == ["maybe", "refused"]


def test_a_queue_is_not_refused_by_a_redis_that_is_unavailable(world: World) -> None:
    world.broker.refuses[HIGH] = QueueUnavailable("LOADING")

    assert world.tick() != 0

    assert world.dispatcher.describe()["intake"] == "redis unavailable"
    assert world.dispatcher.describe()["queues"][0]["supply"] == "maybe"


def test_a_queue_whose_node_is_unavailable_is_tried_more_and_more_slowly(world: World) -> None:
    world.broker.down[HIGH] = NODE_LOST
    pauses = []
    for _ in range(9):
        world.settle_down()
        pauses.append(world.dispatcher._outages.next_try_s(world.clock.now_s))
        world.clock.now_s += pauses[-1] + 0.001
    assert pauses[0] < 0.1
    assert pauses[-1] > 1
    assert world.dispatcher.redis_failing


def test_a_queue_whose_lost_takes_were_looked_for_is_available_with_nothing_to_take_too() -> None:
    world = World()
    world.broker.down[HIGH] = NODE_LOST
    for _ in range(9):
        world.clock.now_s += world.settle_down() or 0.1
    assert world.dispatcher.redis_failing
    world.dispatcher.close_intake()

    del world.broker.down[HIGH]
    world.tick(after_s=3)

    assert not world.dispatcher.redis_failing


def test_the_loop_rests_while_one_node_is_away_and_nothing_is_to_be_asked_of_one_that_was() -> None:
    world = World(concurrency=2, equal=True)
    world.broker.push(task("b", LOW))
    world.broker.down[HIGH] = NODE_LOST
    world.settle_down()
    world.dispatcher.quiet(on=True)
    world.runner.answer("b")
    world.broker.down = {LOW: NODE_LOST}
    began_s = world.clock.now_s
    for _ in range(30):
        world.clock.now_s += world.settle_down() or 0

    assert world.clock.now_s - began_s > 15, "each rest lasts until the next try"


def test_outcomes_of_a_queue_whose_node_is_unavailable_wait_and_the_others_are_settled() -> None:
    world = World(concurrency=2)
    world.broker.push(task("a", HIGH), task("b", LOW))
    world.settle_down()
    world.broker.down[HIGH] = NODE_LOST
    world.runner.answer("a")
    world.runner.answer("b")
    world.settle_down()
    assert settled(world) == {"b": Complete}
    assert [one.lease.task_id for one in world.dispatcher.outcomes()] == ["a"]

    world.broker.down.clear()
    world.tick(after_s=3)
    assert settled(world) == {"a": Complete, "b": Complete}


def test_a_queue_that_redis_refuses_is_tried_every_five_seconds_and_said_once(world: World) -> None:
    world.broker.refuses[HIGH] = QueueRejected("WRONGTYPE")
    world.broker.push(task("a", LOW))
    with capture_logs() as events:
        delay_s = world.settle_down()
        assert world.runner.running == ["a"]
        world.runner.answer("a")
        world.settle_down()
        world.asked("exchange")
        world.clock.now_s += REFUSED_DELAYS.first_s
        world.settle_down()
    assert delay_s is None, "no room: an arrival wakes it"
    assert world.asked("exchange")[0][1] == [Ask(HIGH, 1)]
    assert [event["event"] for event in events if event["log_level"] == "error"] == ["queue.refused"]
    assert world.dispatcher.describe()["queues"][0]["supply"] == "refused"

    world.broker.refuses.clear()
    world.broker.push(task("b"))
    world.clock.now_s += REFUSED_DELAYS.first_s
    world.settle_down()
    assert world.runner.running == ["b"]
    assert world.dispatcher.describe()["queues"][0]["supply"] != "refused"


def test_a_settlement_that_redis_refuses_is_its_queues_trouble_and_not_the_others(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()
    world.broker.replies["a"] = None
    world.broker.refuses[HIGH] = QueueRejected("WRONGTYPE")
    world.runner.answer("a")

    world.broker.push(*[task(f"low {n}", LOW) for n in range(20)])
    for n in range(20):
        world.settle_down()
        world.runner.answer(f"low {n}")
    delay_s = world.settle_down()

    assert delay_s is not None
    assert 0 < delay_s <= NODE_DELAYS.longest_s
    assert [one.lease.task_id for one in world.dispatcher.outcomes()] == ["a"]
    assert [one.lease.task_id for one in world.broker.settled] == [f"low {n}" for n in range(20)]

    world.broker.refuses.clear()
    world.broker.replies.clear()
    world.clock.now_s += NODE_DELAYS.longest_s
    world.settle_down()
    assert world.dispatcher.outcomes() == []


def test_a_paused_queue_is_looked_at_again_a_little_later(world: World) -> None:
    world.broker.paused |= {HIGH, LOW}

    assert world.settle_down() == pytest.approx(PAUSED_RECHECK_S)
    assert not any(watch.armed for watch in world.watches.values())

    world.asked("exchange")
    world.dispatcher.quiet(on=False)
    world.tick(after_s=PAUSED_RECHECK_S / 2)
    assert world.asked("exchange") == [], "whatever else happens"

    world.broker.paused.clear()
    world.broker.push(task("a"))
    world.tick(after_s=PAUSED_RECHECK_S)
    assert world.runner.running == ["a"]


# What waits --------------------------------------------------------------------------------------


def test_what_was_fetched_ahead_and_waits_too_long_goes_back_uncharged(world: World) -> None:
    busy(world, "waiting")
    assert world.tick() == pytest.approx(LOOK_S)
    world.asked("exchange")

    world.tick(after_s=LOOK_S + 0.001)
    assert world.asked("exchange") == [([], [Ask(HIGH)])], "no more wait there"
    world.tick(after_s=AHEAD_HOLD_S - LOOK_S)

    assert settled(world) == {"waiting": Return}
    world.broker.push(task("another"))
    world.dispatcher.quiet(on=False)
    world.settle_down()
    assert world.dispatcher.slots.fetched_ahead == 0, (
        "the run it waited behind is not over, and is no short one"
    )


def test_what_was_fetched_ahead_stays_a_little_longer_while_more_wait_in_its_queue(world: World) -> None:
    busy(world, "first", "second")
    world.broker.push(task("third"))

    for _ in range(2):
        world.tick(after_s=LOOK_S + 0.001)
    assert settled(world) == {}

    world.tick(after_s=AHEAD_HOLD_S)
    assert [(one.lease.task_id, type(one)) for one in world.broker.settled] == [
        ("first", Return),
        ("second", Return),
    ]


@pytest.mark.parametrize("more", [True, False])
def test_an_event_loop_that_was_late_looks_before_it_sends_anything_back(world: World, more: bool) -> None:
    busy(world, "waiting")
    if more:
        world.broker.push(task("another"))

    world.tick(after_s=1)
    world.tick()

    assert settled(world) == ({} if more else {"waiting": Return})


def test_what_others_go_before_does_not_stay_longer(world: World) -> None:
    world.make_tasks_short()
    world.broker.push(*(task(name, LOW) for name in ("running", "first", "second")))
    world.settle_down()
    assert world.runner.running == ["running"]
    world.asked("exchange")

    world.tick(after_s=LOOK_S + 0.001)
    assert world.asked("exchange") == []
    world.tick(after_s=AHEAD_HOLD_S - LOOK_S)

    assert settled(world)["first"] is Return


def test_those_of_a_queue_that_were_taken_later_go_back_with_those_that_wait_too_long(world: World) -> None:
    ahead = busy(world, "first", "second").dispatcher.slots.ahead
    ahead.runs["second"].since_s += 0.03

    world.tick(after_s=AHEAD_HOLD_S + 0.001)
    world.tick()

    assert [one.lease.task_id for one in world.broker.settled] == ["first", "second"]


def test_what_goes_back_takes_those_of_later_queues_with_it_so_that_none_is_served_before_it(
    world: World,
) -> None:
    waiting = busy(world, "next", "urgent").dispatcher.slots.ahead
    world.broker.push(task("other", LOW))
    world.runner.answer("running")
    world.settle_down()
    assert list(waiting.runs) == ["urgent", "other"]
    waiting.runs["other"].since_s += AHEAD_HOLD_S

    world.tick(after_s=AHEAD_HOLD_S + 0.001)  # looks first
    world.tick()

    assert settled(world) == {"running": Complete, "urgent": Return, "other": Return}


def test_after_a_return_its_queue_is_asked_again_before_those_behind_it(world: World) -> None:
    busy(world, "urgent")
    world.tick(after_s=AHEAD_HOLD_S + 0.001)  # looks first
    world.tick()
    assert settled(world) == {"urgent": Return}
    world.broker.push(task("urgent", attempt=2), task("other", LOW))

    world.runner.answer("running")
    world.settle_down()

    assert world.runner.running == ["urgent"]


def test_a_take_that_says_that_more_may_wait_is_no_sign_of_an_empty_queue(world: World) -> None:
    (high, low) = world.intake.sources
    world.intake.learn(Ask(HIGH, 3), Taken((task("a"),), more=True), 1000.0)
    world.intake.learn(Ask(LOW, 3), Taken((task("b", LOW),)), 1000.0)

    assert [source.describe()["supply"] for source in (high, low)] == ["maybe", "empty"]


def test_a_run_that_was_outlived_once_is_waited_for_again_when_it_may_end(world: World) -> None:
    pace = world.dispatcher.slots.ahead.pace
    for run_s in (0.01, 0.01, 0.5):
        pace.ran(run_s)
        pace.exchanged(0.01)
    world.broker.push(task("running"), task("back"), task("next"))
    world.broker.takes_s = 0.01
    world.settle_down()
    assert world.dispatcher.slots.fetched_ahead > 0

    for _ in range(3):  # it stays while "next" waits behind it, but not for ever
        world.tick(after_s=AHEAD_HOLD_S + 0.011)
    world.settle_down()
    assert settled(world)["back"] is Return
    assert world.dispatcher.slots.fetched_ahead == 0

    world.broker.push(task("back", attempt=2))
    world.dispatcher.quiet(on=False)
    rest_s = world.settle_down()
    assert rest_s is not None
    world.tick(after_s=rest_s + 0.0001)
    if not world.dispatcher.slots.fetched_ahead:
        rest_s = world.settle_down()
        assert rest_s is not None
        world.tick(after_s=rest_s + 0.0001)
    assert world.dispatcher.slots.fetched_ahead == 1
    assert 0.48 < world.clock.now_s - world.dispatcher.slots.in_process()[0].since_s < 0.5


def test_a_task_that_waits_can_be_cancelled_and_one_in_the_process_is_the_runners(world: World) -> None:
    busy(world, "waiting")
    world.wake.clear()

    world.dispatcher.cancel("waiting", "no longer wanted")
    assert world.wake.is_set()
    world.dispatcher.cancel("running", "no longer wanted")
    world.settle_down()

    assert settled(world) == {"waiting": Archive}
    assert world.runner.cancelled == ["running"]


def test_a_task_that_comes_back_while_its_run_goes_on_is_adopted_by_that_run() -> None:
    world = World(concurrency=2)
    world.broker.push(task("a"))
    world.settle_down()
    world.broker.push(task("a", attempt=2))
    world.dispatcher.quiet(on=False)
    world.settle_down()
    assert world.runner.running == ["a"]

    world.runner.answer("a")
    world.settle_down()

    assert [one.lease.attempt for one in world.broker.settled] == ["2"]
    assert len(world.runner.requests) == 1


def test_of_two_tasks_that_share_an_id_the_second_is_deferred() -> None:
    world = World(concurrency=2)
    world.broker.push(task("a", HIGH), task("a", LOW))

    world.settle_down()

    assert [(type(one), one.lease.queue) for one in world.broker.settled] == [(Defer, LOW)]
    assert world.runner.running == ["a"]


def test_a_task_that_waits_is_known_by_its_id_too() -> None:
    world = busy(World(equal=True), "next", "waiting")
    world.broker.push(task("waiting", attempt=2), task("waiting", LOW))
    world.dispatcher.quiet(on=False)
    world.runner.answer("running")
    world.settle_down()
    assert world.runner.running == ["next"]
    assert [(type(one), one.lease.queue) for one in world.broker.settled] == [(Complete, HIGH), (Defer, LOW)]

    world.runner.answer("next")
    world.runner.answer("waiting")
    world.settle_down()

    assert [one.lease.attempt for one in world.broker.settled[-2:]] == ["1", "2"]
    assert len(world.runner.requests) == 3


def test_a_task_that_waited_too_long_ends_without_a_run(world: World) -> None:
    world.broker.push(task("a", pending_since_wall_s=900.0, pending_timeout_s=60.0))
    world.settle_down()
    assert settled(world) == {"a": Archive}
    assert world.runner.requests == []


def test_the_time_a_task_waited_is_counted_by_rediss_clock(world: World) -> None:
    world.broker.push(task("a", pending_since_wall_s=940.0))
    world.settle_down()
    waits = world.dispatcher.tallies[HIGH].waits
    assert (sum(waits.counts), waits.sum_s) == (1, 60.0)


def test_a_task_that_cannot_be_understood_is_set_aside_and_named(world: World) -> None:
    world.broker.broken.append((task("a").lease, "no protobuf"))
    world.broker.strays = 3
    with capture_logs() as events:
        world.tick()
        assert world.dispatcher.describe()["queues"][0]["supply"] == "maybe", "there may be more"
        world.settle_down()
    assert settled(world) == {"a": Archive}
    assert {"event": "task.undecodable", "task_id": "a", "queue": HIGH, "reason": "no protobuf"}.items() <= {
        **next(event for event in events if event["event"] == "task.undecodable")
    }.items()
    assert [event["ids"] for event in events if event["event"] == "queue.strays_dropped"] == [3]


def test_a_deadline_counts_from_rediss_clock(world: World) -> None:
    world.broker.push(task("late", deadline_wall_s=999.0), task("in time", deadline_wall_s=1_060.0))
    world.broker.takes_s = 0.5

    world.settle_down()

    assert settled(world) == {"late": Retry}
    assert [request.deadline_monotonic_s for request in world.runner.requests] == [1_060.0]


# What is watched ---------------------------------------------------------------------------------


def test_queues_that_are_empty_are_watched_and_not_asked(world: World) -> None:
    assert world.settle_down() is None
    assert all(watch.armed for watch in world.watches.values())

    world.asked("exchange")
    world.tick(after_s=100)
    assert world.asked("exchange") == []


def test_what_arrives_is_claimed(world: World) -> None:
    world.settle_down()
    world.broker.push(task("a"))
    world.watches[HIGH].arrived.append(b"a")
    world.asked("exchange")

    world.tick()

    assert [asks for _, asks in world.asked("exchange")] == [[Ask(HIGH, arrived=(b"a",))]]
    assert world.runner.running == ["a"]
    assert not world.watches[HIGH].arrived


def test_a_queue_of_which_something_arrived_is_asked_for_more() -> None:
    world = World(concurrency=3)
    world.settle_down()
    world.broker.push(task("a"))
    world.watches[HIGH].arrived.append(b"a")
    world.asked("exchange")

    world.tick()

    assert [asks for _, asks in world.asked("exchange")] == [[Ask(HIGH, arrived=(b"a",)), Ask(HIGH, 2)]]


def test_a_queue_whose_watch_failed_is_asked(world: World) -> None:
    world.settle_down()
    world.watches[LOW].failed = True
    world.asked("exchange")

    world.settle_down()

    assert [asks for _, asks in world.asked("exchange")] == [[Ask(LOW, 1)]]


def test_what_arrived_from_a_queue_that_redis_refuses_is_left_to_upkeep(world: World) -> None:
    world.settle_down()
    world.watches[HIGH].arrived.append(b"x")
    world.broker.refuses[HIGH] = QueueRejected("NOPERM")

    world.settle_down()

    assert not world.watches[HIGH].arrived


def test_queues_of_one_priority_take_turns() -> None:
    world = World(equal=True)
    world.broker.push(*(task(f"{queue[10]}{n}", queue) for n in range(3) for queue in (HIGH, LOW)))
    served = []
    for _ in range(6):
        world.settle_down()
        served += world.runner.running
        world.runner.answer(served[-1])
    assert served == ["h0", "l0", "h1", "l1", "h2", "l2"]


@pytest.mark.parametrize("reason", ["empty", "refused"])
def test_a_queue_that_had_nothing_for_long_does_not_crowd_the_other_out(reason: str) -> None:
    world = World(equal=True)
    if reason == "refused":
        world.broker.refuses[LOW] = QueueRejected("NOPERM")
    world.broker.push(*(task(f"h{n}") for n in range(40)))
    for n in range(20):
        world.settle_down()
        world.clock.now_s += 0.01  # too long to fetch anything ahead
        world.runner.answer(f"h{n}")
    world.broker.refuses.clear()
    world.broker.push(*(task(f"l{n}", LOW) for n in range(20)))
    world.watches[LOW].arrived.append(b"l0")
    world.clock.now_s += REFUSED_DELAYS.longest_s

    served = []
    for _ in range(20):
        world.settle_down()
        served += world.runner.running
        world.clock.now_s += 0.01
        world.runner.answer(served[-1])

    assert sum(task_id.startswith("l") for task_id in served) in (10, 11), served


def test_without_a_free_slot_for_long_nothing_is_watched_and_all_is_asked_again(world: World) -> None:
    world.settle_down()
    world.broker.push(task("a"))
    world.watches[HIGH].arrived.append(b"a")
    world.settle_down()
    assert world.tick() == pytest.approx(HOLD_S)
    assert world.watches[LOW].armed, "a slot may come free soon"

    world.tick(after_s=LONG_S)
    assert not any(watch.armed for watch in world.watches.values())

    world.runner.answer("a")
    world.asked("exchange")
    world.settle_down()
    assert [ask.queue for _, asks in world.asked("exchange") for ask in asks] == [HIGH, LOW]


def test_what_arrived_and_finds_no_slot_goes_back_but_not_what_arrives_meanwhile(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()
    arrived = world.watches[LOW].arrived
    arrived.append(b"x")
    world.tick()
    world.broker.meanwhile = lambda: arrived.append(b"y")

    world.tick(after_s=LONG_S)

    assert world.asked("reclaim") == [(LOW, (b"x",))]
    assert list(arrived) == [b"y"], "it has to be reclaimed in its turn"

    world.broker.meanwhile = lambda: None
    world.dispatcher.quiet(on=False)
    for watch in world.watches.values():
        watch.armed = False
    world.dispatcher._intake._full_since_s = None
    world.tick()
    assert world.asked("reclaim") == []
    world.tick(after_s=LONG_S)
    assert world.asked("reclaim") == [(LOW, (b"y",))]
    world.runner.answer("a")
    world.asked("exchange")
    world.settle_down()
    assert [ask.queue for _, asks in world.asked("exchange") for ask in asks] == [HIGH, LOW], "asked again"


def test_what_arrived_goes_back_at_once_when_the_gate_shuts(world: World) -> None:
    world.settle_down()
    world.watches[LOW].arrived.append(b"x")
    world.dispatcher.close_intake()

    world.tick()

    assert world.asked("reclaim") == [(LOW, (b"x",))]


def test_how_long_something_waits_counts_from_its_own_arrival(world: World) -> None:
    world.settle_down()
    world.broker.push(task("a"), task("b"), task("x", LOW))
    world.watches[HIGH].arrived.append(b"a")
    world.settle_down()
    world.watches[LOW].arrived.append(b"x")
    world.tick()
    for after in ("b", "x"):
        world.runner.answer(world.runner.running[0])
        world.settle_down()
        assert world.runner.running == [after]

    world.clock.now_s += LONG_S / 2
    world.runner.answer("x")
    world.broker.push(task("c"))
    world.dispatcher.quiet(on=False)
    world.settle_down()
    world.clock.now_s += LONG_S * 0.6
    world.watches[LOW].arrived.append(b"y")
    world.runner.answer("c")
    world.broker.push(task("y", LOW))
    world.settle_down()

    assert world.asked("reclaim") == []
    assert world.runner.running == ["y"]


def test_what_arrived_goes_back_while_the_slot_only_comes_free_for_a_fuller_queue(world: World) -> None:
    world.settle_down()
    world.broker.push(*(task(f"t{n}") for n in range(100)))
    world.watches[HIGH].arrived.append(b"t0")
    world.settle_down()
    world.watches[LOW].arrived.append(b"x")

    served = 0
    while not world.asked("reclaim"):
        world.tick(after_s=HOLD_S / 4)
        world.runner.answer(f"t{served}")
        world.settle_down()
        served += 1

    assert 4 <= served <= 6
    assert not world.watches[LOW].arrived
    assert world.watches[LOW].armed, "its slot was never taken for long"
    assert world.dispatcher.describe()["queues"][1]["supply"] == "maybe", "it is asked when it is its turn"


def test_what_cannot_be_returned_to_an_unavailable_redis_is_returned_later(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()
    world.watches[LOW].arrived.append(b"x")
    world.tick()
    world.broker.failure = LOST
    world.tick(after_s=LONG_S)
    world.asked("reclaim")

    world.broker.failure = None
    world.tick(after_s=1)

    assert world.asked("reclaim") == [(LOW, (b"x",))]


def test_a_node_that_is_unavailable_when_something_goes_back_stops_nothing_else(world: World) -> None:
    world.broker.push(task("a"), task("b"))
    world.settle_down()
    world.watches[LOW].arrived.append(b"x")
    world.tick()
    world.broker.down[LOW] = NODE_LOST
    world.clock.now_s += LONG_S
    world.runner.answer("a")
    world.broker.pending[HIGH].clear()

    with capture_logs() as events:
        world.tick()

    assert settled(world) == {"a": Complete}
    assert [event["queue"] for event in events if event["event"] == "queue.unavailable"] == [LOW]


# Outcomes ----------------------------------------------------------------------------------------


def test_an_outcome_is_counted_when_redis_has_accepted_it_and_a_failure_when_it_happens() -> None:
    world = World(concurrency=2)
    world.broker.push(task("a"), task("b"))
    world.settle_down()
    world.runner.answer("a", Failed("x", retry=True))
    world.runner.answer("b", Crashed("SIGKILL"))
    tally = world.dispatcher.tallies[HIGH]
    assert (dict(tally.failures), dict(tally.outcomes)) == ({"failed": 1, "crashed": 1}, {})

    world.settle_down()

    assert dict(tally.outcomes) == {"retried": 2}


def test_an_outcome_the_fence_refuses_is_counted_as_refused(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()
    world.broker.replies["a"] = FenceReply.LOST

    world.runner.answer("a")
    world.settle_down()

    assert dict(world.dispatcher.tallies[HIGH].outcomes) == {"refused": 1}
    assert world.dispatcher.held() == []


@pytest.mark.parametrize(("reply_lost", "counted"), [(True, "completed"), (False, "refused")])
def test_a_completion_that_deleted_its_task_is_no_refusal_when_only_its_reply_was_lost(
    world: World, reply_lost: bool, counted: str
) -> None:
    world.broker.keeps_results = False
    world.broker.push(task("a"))
    world.settle_down()
    world.runner.answer("a")
    if reply_lost:
        world.broker.failure = LOST
        world.tick()
        world.broker.failure = None
    world.broker.replies["a"] = FenceReply.GONE

    world.tick(after_s=1)

    assert dict(world.dispatcher.tallies[HIGH].outcomes) == {counted: 1}


def test_each_outcome_is_logged_once_with_the_last_line_of_why(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()
    with capture_logs() as events:
        world.runner.answer("a", Failed("Traceback\n  in f\nValueError: x\n", retry=True))
        world.settle_down()
    retried = [event for event in events if event["event"] == "task.retry"]
    assert [(event["task_id"], event["retried"], event["error"]) for event in retried] == [
        ("a", 1, "ValueError: x")
    ]


# Ending ------------------------------------------------------------------------------------------


def test_the_end_waits_for_outcomes_and_says_which_tasks_it_could_not_settle(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()
    world.runner.answer("a")

    with capture_logs() as events:
        assert not world.dispatcher.finish(1.0)

    (unsettled,) = [event for event in events if event["event"] == "dispatch.unsettled"]
    assert (unsettled["parent"], unsettled["tasks"]) == ("inference", ["a"])
    assert all(watch.ended for watch in world.watches.values())


def test_the_end_waits_for_a_task_in_the_process(world: World) -> None:
    world.broker.push(task("a"))
    world.settle_down()
    assert not world.dispatcher.finish(0.1)


def test_the_end_waits_for_a_task_that_came_while_the_gate_was_shut(world: World) -> None:
    world.broker.push(task("a"))
    world.broker.meanwhile = world.dispatcher.close_intake
    world.tick()
    assert not world.dispatcher.finish(0.1)
    assert [lease.task_id for lease in world.dispatcher.held()] == ["a"]


@pytest.mark.parametrize("armed", [True, False])
def test_the_end_waits_for_what_may_arrive_or_has(world: World, armed: bool) -> None:
    world.watches[LOW].armed = armed
    if not armed:
        world.watches[LOW].arrived.append(b"x")
    assert not world.dispatcher.finish(0.1)


def test_a_redis_that_hangs_does_not_hold_up_the_end_for_the_sake_of_a_lookup(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "LAST_MEND_S", 0.01)
    monkeypatch.setattr(world.broker, "mend_lookups", Event().wait)
    with gevent.Timeout(10):
        assert world.dispatcher.finish(5.0)
    assert world.wake.is_set()


def test_the_end_of_a_worker_that_has_nothing_is_at_once(world: World) -> None:
    before_s = world.clock.now_s
    assert world.dispatcher.finish(5.0)
    assert world.clock.now_s == before_s
    assert world.wake.is_set()
    assert world.dispatcher.describe()["intake"] == "closed"


def test_an_end_with_everything_settled_is_not_worth_a_word(world: World) -> None:
    with capture_logs() as events:
        world.dispatcher.finish(1.0)
    assert events == []


def test_waiting_until_it_is_idle_ends_with_the_last_task_or_the_time(world: World) -> None:
    assert world.dispatcher.slots.wait_idle(0.0)
    world.broker.push(task("a"))
    world.settle_down()
    assert not world.dispatcher.slots.wait_idle(1.0)

    world.clock.meanwhile = lambda: world.runner.answer("a") or world.dispatcher._collect()
    assert world.dispatcher.slots.wait_idle(1.0)


# The loop ----------------------------------------------------------------------------------------


def test_the_loop_ends_with_the_dispatcher_and_its_pulse_says_so(world: World) -> None:
    pulse = Pulse("dispatcher", world.clock)
    loop = gevent.spawn(world.dispatcher.run, pulse)
    gevent.sleep(0)
    world.dispatcher.close_intake()
    gevent.sleep(0)

    world.dispatcher.finish(1.0)
    loop.join(5)

    assert loop.dead
    assert pulse.problem(world.clock.now_s) == "dispatcher has ended"


def test_what_is_announced_during_a_tick_causes_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[str | None] = []
    pulse = Pulse("dispatcher", world.clock)

    def tick() -> float | None:
        world.clock.now_s += STUCK_AFTER_S
        ticks.append(pulse.problem(world.clock.now_s))
        if len(ticks) == 1:
            world.wake.set()
        return None

    monkeypatch.setattr(world.dispatcher, "tick", tick)
    loop = gevent.spawn(world.dispatcher.run, pulse)
    gevent.sleep(0)
    gevent.sleep(0)

    assert ticks == ["dispatcher has been in one step for 90 s"] * 2
    assert not loop.dead
    world.clock.now_s += 2 * STUCK_AFTER_S
    assert pulse.problem(world.clock.now_s) is None, "it waits for a reason to go on"
    world.dispatcher.finish(0)
    loop.join(5)
