"""The dispatcher on a real Redis, with a runner whose answers the test decides."""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gevent
import pytest
import redis
from structlog.testing import capture_logs

from appliance.clock import SystemClock
from appliance.config.settings import TaskSettings
from appliance.control.contract import RedisEndpoint
from appliance.dispatch import intake, large, pace
from appliance.dispatch.backoff import Delays
from appliance.dispatch.dispatcher import Dispatcher, DispatchSettings
from appliance.dispatch.intake import Intake, Source
from appliance.dispatch.large import LargeOutcomes
from appliance.dispatch.order import Order, strict, weighted
from appliance.dispatch.unsettled import Unsettled
from appliance.dispatch.watch import Watch
from appliance.errors import ProcessNotReady, QueueError, QueueUnavailable
from appliance.event import Event
from appliance.observe.pulse import Pulses
from appliance.observe.tally import Tally
from appliance.process.outcome import Crashed, Failed, Outcome, Succeeded
from appliance.process.runner import Deliver, Request, RunnerState
from appliance.queue import waiter
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel, Command
from appliance.queue.place import RedisPlace
from appliance.queue.replies import Ask, Exchange
from appliance.queue.settlement import Policy, Settlement
from appliance.queue.waiter import Waiter
from harness import wait
from harness.queue import asynq
from harness.sandbox.redis import RedisServer
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed

LOW = "inference.low"


class ScriptedRunner:
    """Keeps what it is given until the test answers; ``instant`` answers at once."""

    def __init__(self, instant: bool, on_change: Callable[[], None]) -> None:
        self.instant = instant
        self.on_change = on_change
        self.ready = True
        self.recovery = "idle"
        self.seen: list[str] = []
        self.most_at_once = 0
        self._open: dict[str, tuple[Request, Deliver]] = {}

    def submit(self, request: Request, deliver: Deliver) -> None:
        if not self.ready:
            raise ProcessNotReady("the test says so")
        self.seen.append(request.task_id)
        self._open[request.task_id] = (request, deliver)
        self.most_at_once = max(self.most_at_once, len(self._open))
        if self.instant:
            self.answer(request.task_id)

    def answer(self, task_id: str, outcome: Outcome | None = None) -> None:
        request, deliver = self._open.pop(task_id)
        deliver(request, outcome or Succeeded(b'"ok"'))

    def state(self) -> RunnerState:
        return RunnerState(self.recovery, self.ready, 0, 0, ())


Start = Callable[..., tuple[Dispatcher, ScriptedRunner]]


@pytest.fixture
def start(endpoint: RedisEndpoint, db: redis.Redis) -> Iterator[Start]:
    started: list[tuple[Dispatcher, list[gevent.Greenlet], list[Channel]]] = []

    def begin(
        *,
        concurrency: int = 1,
        queues: tuple[str, ...] = (QUEUE,),
        instant: bool = False,
        policy: Policy = POLICY,
        order: Order | None = None,
        keep_results: bool = True,
    ) -> tuple[Dispatcher, ScriptedRunner]:
        wake = Event()
        runner = ScriptedRunner(instant, wake.set)
        main, control = Channel(endpoint, "dispatch"), Channel(endpoint, "control")
        sources = [
            Source(q, Watch(q, Waiter(RedisPlace(endpoint), q, "watch", control), wake.set)) for q in queues
        ]
        falling = {queue: -position for position, queue in enumerate(queues)}
        alone = Channel(endpoint, "large")
        freight = LargeOutcomes(
            Broker(alone, "me", 30, keep_results=keep_results), policy, SystemClock(), wake.set
        )
        dispatcher = Dispatcher(
            Intake(sources, order or strict(falling)),
            Broker(main, "me", 30, keep_results=keep_results),
            runner,  # type: ignore[arg-type]
            Unsettled(policy, {queue: Tally() for queue in queues}, SystemClock(), freight),
            DispatchSettings("inference", concurrency=concurrency),
            clock=SystemClock(),
            rng=random.Random(1),
            wake=wake,
        )
        pulses = Pulses(SystemClock())
        loops = [gevent.spawn(dispatcher.run, pulses.new("dispatch"))]
        loops.append(gevent.spawn(freight.run, pulses.new("large outcomes")))
        loops += [gevent.spawn(source.watch.run, pulses.new("watch")) for source in sources]
        started.append((dispatcher, loops, [main, control, alone]))
        return dispatcher, runner

    yield begin
    for dispatcher, loops, channels in started:
        dispatcher.finish(2)
        gevent.killall(loops)
        for channel in channels:
            channel.close()


def watched(dispatcher: Dispatcher) -> list[str]:
    return [queue["queue"] for queue in dispatcher.describe()["queues"] if queue["watched"]]


def test_with_many_queues_the_next_task_is_two_round_trips_away_wherever_it_is(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = tuple(f"inference.{n}" for n in range(20))
    trips: list[str] = []
    batch = Channel.batch

    def counted(self: Channel, commands: Sequence[Command]) -> list[Any]:
        # Scripts that this Redis has not seen before are sent a second time.
        if commands[0][0] not in ("BLMOVE", "EVAL"):
            trips.append(str(commands[0][0]))
        return batch(self, commands)

    dispatcher, runner = start(queues=queues)
    wait.until(lambda: db.info("clients")["blocked_clients"] == 20, 60, "all queues to be watched")
    seed(db, "first", queue=queues[-1])
    wait.until(lambda: "first" in runner.seen, 60, "the first task")
    unwatched = partial(wait.until, lambda: not watched(dispatcher), 30, "no queue to be watched")
    unwatched()
    seed(db, "second", queue=queues[-1])
    monkeypatch.setattr(Channel, "batch", counted)
    runner.answer("first")
    wait.until(lambda: "second" in runner.seen, 60, "the second task")
    # Settled with the first look, and taken with what that saw.
    assert trips == ["EVALSHA", "EVALSHA"]
    trips.clear()
    # Full for long: nineteen watches end in one round trip, or another where some began only then. And when
    # the run may end, which is known from the first one, there is a look for the next task.
    unwatched()
    assert {*trips} - {"EVALSHA"} == {"CLIENT"}
    assert len(trips) < 10
    runner.answer("second")


@pytest.fixture
def small_bulks(db: redis.Redis) -> Iterator[None]:
    """A Redis that ends the connection of a client that sends more than 1 MB in one."""
    before = db.config_get("proto-max-bulk-len")
    db.config_set("proto-max-bulk-len", 1024 * 1024)
    yield
    db.config_set("proto-max-bulk-len", before["proto-max-bulk-len"])


@pytest.mark.usefixtures("small_bulks")
def test_an_outcome_that_redis_never_takes_is_archived_and_holds_up_no_other(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "DELAYS", Delays(0.05, 0.1))
    dispatcher, runner = start(concurrency=2)
    seed(db, "large")
    wait.until(lambda: "large" in runner.seen, 60, "the large one to run")
    runner.answer("large", Succeeded(b'"%s"' % (b"x" * 2 * 1024 * 1024)))
    for n in range(5):
        seed(db, f"small{n}")
        wait.until(lambda n=n: f"small{n}" in runner.seen, 60, "a small one to run")
        runner.answer(f"small{n}", Succeeded(b"1"))
        wait.until(lambda n=n: asynq.where_is(db, QUEUE, f"small{n}") == "completed", 60, "it to be done")

    wait.until(lambda: asynq.where_is(db, QUEUE, "large") == "archived", 60, "the large one to be given up")
    error = db.hget(asynq.task_key(QUEUE, "large"), "error_msg").decode()
    assert f"of {2 * 1024 * 1024 + 2} bytes, {large.MOST_REFUSALS} times" in error
    assert "proto-max-bulk-len" in error
    assert dispatcher.finish(5)


@pytest.mark.parametrize("trouble", ["a key of another type", "a permission that is missing"])
def test_a_large_outcome_outlasts_what_people_have_to_put_right(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(large, "DELAYS", Delays(0.02, 0.05))
    tries: list[QueueError] = []
    refused = Broker.refused

    def counted(self: Broker, exc: QueueError) -> bool:
        tries.append(exc)
        return refused(self, exc)

    monkeypatch.setattr(Broker, "refused", counted)
    dispatcher, runner = start()
    seed(db, "large")
    wait.until(lambda: "large" in runner.seen, 60, "it to run")
    forbids = trouble == "a permission that is missing"
    if forbids:
        db.execute_command("ACL", "SETUSER", "default", "-evalsha")
    else:
        db.set(f"asynq:{{{QUEUE}}}:completed", "of somebody else")
    try:
        runner.answer("large", Succeeded(b'"%s"' % (b"x" * large.LARGE_BYTES)))
        wait.until(lambda: len(tries) > 2 * large.MOST_REFUSALS, 60, "many tries")
    finally:
        if forbids:
            db.execute_command("ACL", "SETUSER", "default", "+@all")
        else:
            db.delete(f"asynq:{{{QUEUE}}}:completed")
    wait.until(lambda: asynq.where_is(db, QUEUE, "large") == "completed", 60, "it to be settled")
    assert dispatcher.finish(30)


def test_large_outcomes_are_settled_as_others_are(start: Start, db: redis.Redis) -> None:
    dispatcher, runner = start(concurrency=4)
    ids = [f"large{n}" for n in range(4)]
    seed(db, *ids)
    wait.until(lambda: {*ids} <= {*runner.seen}, 60, "all to run")
    for task_id in ids:
        runner.answer(task_id, Succeeded(b'"%s"' % (b"x" * large.LARGE_BYTES)))
    assert dispatcher.finish(30)
    for task_id in ids:
        assert asynq.where_is(db, QUEUE, task_id) == "completed"
        assert db.hstrlen(asynq.task_key(QUEUE, task_id), "result") == large.LARGE_BYTES + 2
    assert dispatcher.tallies[QUEUE].outcomes["completed"] == 4


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Ask]]:
    """What each exchange that took something asked for, as it goes on."""
    seen: list[Sequence[Ask]] = []
    exchange = Broker.exchange

    def observed(self: Broker, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> Exchange:
        if asks:
            seen.append(asks)
        return exchange(self, settlements, asks)

    monkeypatch.setattr(Broker, "exchange", observed)
    return seen


def until(check: Callable[[], object], what: str) -> None:
    wait.until(check, 60, what)


def completed(db: redis.Redis) -> int:
    return db.zcard(f"{PREFIX}completed")


def believed_full(dispatcher: Dispatcher) -> bool:
    """Whether no queue is watched any more, and each will be asked for the next task."""
    queues = dispatcher.describe()["queues"]
    return all(queue["supply"] == "maybe" and not queue["watched"] for queue in queues)


def commands_so_far(db: redis.Redis) -> int:
    return int(db.info("stats")["total_commands_processed"])


def test_tasks_that_wait_are_served_oldest_first(start: Start, db: redis.Redis) -> None:
    seed(db, "a", "b", "c")
    _, runner = start(instant=True)
    until(lambda: completed(db) == 3, "three results")
    assert runner.seen == ["a", "b", "c"]


def test_a_task_that_comes_to_an_idle_worker_starts_at_once(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "BLOCK_S", 60)
    start(instant=True)
    until(lambda: db.info("clients")["blocked_clients"] == 1, "the worker to wait")
    begun = time.monotonic()
    seed(db, "a")
    until(lambda: completed(db) == 1, "the result")
    # Without the wake-up the dispatcher would look again when Redis ends the blocking call.
    assert time.monotonic() - begun < 30


def test_never_more_tasks_run_than_there_are_slots(start: Start, db: redis.Redis) -> None:
    seed(db, *(f"t{n}" for n in range(20)))
    dispatcher, runner = start(concurrency=3)
    for n in range(20):
        until(lambda n=n: f"t{n}" in runner.seen, f"task {n}")
        runner.answer(f"t{n}")
    until(lambda: completed(db) == 20, "all results")
    assert runner.most_at_once == 3
    assert dispatcher.slots.in_use == 0


def test_a_slow_task_does_not_hold_the_other_slots_up(start: Start, db: redis.Redis) -> None:
    seed(db, "slow")
    _, runner = start(concurrency=2)
    until(lambda: "slow" in runner.seen, "the slow task")
    for n in range(5):
        seed(db, f"quick{n}")
        until(lambda n=n: f"quick{n}" in runner.seen, "a quick one beside it")
        runner.answer(f"quick{n}")
    until(lambda: completed(db) == 5, "the quick ones")
    assert asynq.where_is(db, QUEUE, "slow") == "active"
    runner.answer("slow")


def test_the_higher_priority_is_served_first(start: Start, db: redis.Redis) -> None:
    seed(db, *(f"low{n}" for n in range(3)), queue=LOW)
    seed(db, *(f"high{n}" for n in range(3)))
    _, runner = start(queues=(QUEUE, LOW), instant=True)
    until(lambda: len(runner.seen) == 6, "all six")
    assert runner.seen == ["high0", "high1", "high2", "low0", "low1", "low2"]


def test_an_urgent_task_overtakes_the_ones_that_wait_behind_a_busy_slot(
    start: Start, db: redis.Redis
) -> None:
    seed(db, "low0", "low1", "low2", queue=LOW)
    dispatcher, runner = start(queues=(QUEUE, LOW))
    until(lambda: runner.seen == ["low0"], "the first")
    until(lambda: believed_full(dispatcher), "the watches to end")
    seed(db, "urgent")
    runner.answer("low0")
    until(lambda: len(runner.seen) == 2, "the next")
    assert runner.seen[1] == "urgent"
    runner.answer("urgent")
    for n in (1, 2):
        until(lambda n=n: f"low{n}" in runner.seen, "the rest")
        runner.answer(f"low{n}")


def test_queues_of_one_priority_take_turns(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "MOST_AHEAD", 0)
    seed(db, *(f"a{n}" for n in range(20)))
    seed(db, *(f"b{n}" for n in range(20)), queue=LOW)
    _, runner = start(queues=(QUEUE, LOW), instant=True, order=strict({QUEUE: 5, LOW: 5}))
    until(lambda: len(runner.seen) == 40, "all of them")
    assert runner.seen == [f"{queue}{n}" for n in range(20) for queue in "ab"]


@pytest.mark.parametrize("most_ahead", [0, 32])
def test_weighted_queues_are_served_by_their_weights_and_none_starves(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch, most_ahead: int
) -> None:
    monkeypatch.setattr(pace, "MOST_AHEAD", most_ahead)
    seed(db, *(f"high{n}" for n in range(400)))
    seed(db, *(f"low{n}" for n in range(400)), queue=LOW)
    _, runner = start(queues=(QUEUE, LOW), instant=True, order=weighted({QUEUE: 9, LOW: 1}))
    until(lambda: len(runner.seen) == 800, "all of them")
    low = [sum(task.startswith("low") for task in runner.seen[n : n + 100]) for n in (0, 100, 200, 300)]
    # What is fetched ahead comes in the order of the exchanges.
    assert all(abs(count - 10) <= 1 + most_ahead / 10 for count in low), low


def test_the_free_slots_are_split_over_weighted_queues_in_one_exchange(
    start: Start, db: redis.Redis, asked: list[Sequence[Ask]]
) -> None:
    seed(db, *(f"high{n}" for n in range(20)))
    seed(db, *(f"low{n}" for n in range(20)), queue=LOW)
    _, runner = start(queues=(QUEUE, LOW), concurrency=10, order=weighted({QUEUE: 4, LOW: 1}))
    until(lambda: len(runner.seen) == 10, "every slot to be taken")
    assert asked == [[Ask(QUEUE, 8), Ask(LOW, 2)]]
    for task_id in [*runner.seen]:
        runner.answer(task_id)


def test_the_share_of_a_weighted_queue_that_is_empty_falls_to_the_others_at_the_cost_of_one_ask(
    start: Start, db: redis.Redis, asked: list[Sequence[Ask]]
) -> None:
    seed(db, *(f"low{n}" for n in range(100)), queue=LOW)
    _, runner = start(queues=(QUEUE, LOW), instant=True, order=weighted({QUEUE: 9, LOW: 1}))
    until(lambda: len(runner.seen) == 100, "all of them")
    assert sum(ask.queue == QUEUE for asks in asked for ask in asks) == 1


def test_a_weighted_queue_that_was_empty_for_long_does_not_crowd_the_others_out(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a queue that was alone for a hundred tasks, and one that had nothing
    monkeypatch.setattr(pace, "MOST_AHEAD", 0)
    seed(db, *(f"early{n}" for n in range(100)))
    _, runner = start(queues=(QUEUE, LOW), instant=True, order=weighted({QUEUE: 1, LOW: 1}))
    until(lambda: completed(db) == 100, "the queue to have been alone")
    until(lambda: db.info("clients")["blocked_clients"] == 2, "both to be watched")

    # when both get tasks, and it has heard of both before it takes the second
    runner.instant = False
    with db.pipeline(transaction=True) as together:
        seed(together, *(f"high{n}" for n in range(50)))
        seed(together, *(f"low{n}" for n in range(50)), queue=LOW)
        together.execute()
    until(lambda: len(runner.seen) == 101, "the first of them")
    until(lambda: db.info("clients")["blocked_clients"] == 0, "neither to be watched any more")
    runner.instant = True
    runner.answer(runner.seen[100])
    until(lambda: len(runner.seen) == 200, "all of them")

    # then they take turns from the first task on
    low = sum(task.startswith("low") for task in runner.seen[100:140])
    assert abs(low - 20) <= 1, runner.seen[100:140]


def test_a_task_that_comes_to_a_weighty_queue_that_was_empty_is_next(start: Start, db: redis.Redis) -> None:
    seed(db, "low0", "low1", "low2", queue=LOW)
    dispatcher, runner = start(queues=(QUEUE, LOW), order=weighted({QUEUE: 9, LOW: 1}))
    until(lambda: runner.seen == ["low0"], "the first")
    runner.answer("low0")
    until(lambda: runner.seen[1:] == ["low1"], "the second")
    until(lambda: believed_full(dispatcher), "the watch to end")
    seed(db, "high")
    runner.answer("low1")
    until(lambda: len(runner.seen) == 3, "the next")
    assert runner.seen[2] == "high"
    runner.answer("high")
    until(lambda: len(runner.seen) == 4, "the last")
    runner.answer("low2")


def test_a_task_that_arrives_while_every_slot_is_taken_stays_for_other_workers(
    start: Start, db: redis.Redis
) -> None:
    _, runner = start(queues=(QUEUE, LOW))
    until(lambda: db.info("clients")["blocked_clients"] == 2, "both queues watched")
    seed(db, "first", queue=LOW)
    until(lambda: runner.seen == ["first"], "the slot to be taken")
    until(lambda: db.info("clients")["blocked_clients"] == 0, "the watches to end")
    seed(db, "second")
    assert asynq.where_is(db, QUEUE, "second") == "pending"
    runner.answer("first")
    until(lambda: "second" in runner.seen, "the second")
    runner.answer("second")


def test_a_task_that_arrived_from_a_low_queue_goes_back_while_a_higher_one_stays_full(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a worker whose slot is taken while a task arrives from the lower queue, which it waits at;
    # its slot does not count as taken for long
    monkeypatch.setattr(pace, "MOST_AHEAD", 0)
    monkeypatch.setattr(intake, "HOLD_S", 3600)
    _, runner = start(queues=(QUEUE, LOW))
    until(lambda: db.info("clients")["blocked_clients"] == 2, "the worker to wait at both")
    seed(db, "high0")
    until(lambda: runner.seen == ["high0"], "the slot to be taken")
    seed(db, "low", queue=LOW)
    until(lambda: asynq.where_is(db, LOW, "low") == "active", "the other to arrive")

    # when the slot comes free again and again, each time for something urgent
    def answer() -> None:
        running = runner.seen[-1]
        runner.answer(running)
        until(lambda: runner.seen[-1] != running, f"the one after {running}")

    def let_go() -> bool:
        seed(db, f"high{len(runner.seen)}")
        answer()
        return asynq.where_is(db, LOW, "low") == "pending"

    # then it is there for other workers while there are still urgent ones, and here it is the last
    until(let_go, "it to be free for others")
    assert "low" not in runner.seen
    seed(db, "last")
    answer()
    assert runner.seen[-1] == "last"
    answer()
    assert runner.seen[-1] == "low"
    runner.answer("low")


def test_nothing_is_taken_while_the_process_is_not_ready_and_nothing_is_charged(
    start: Start, db: redis.Redis
) -> None:
    _, runner = start(instant=True)
    until(lambda: db.info("clients")["blocked_clients"] == 1, "the worker to wait")
    runner.ready = False
    runner.on_change()
    until(lambda: db.info("clients")["blocked_clients"] == 0, "the watch to end")
    seed(db, "a")
    until(lambda: asynq.where_is(db, QUEUE, "a") == "pending", "the task to wait")
    assert runner.seen == []
    runner.ready = True
    runner.on_change()
    until(lambda: completed(db) == 1, "the result")
    assert db.hget(f"{PREFIX}t:a", "retried") is None


def test_a_paused_queue_is_left_alone_and_served_within_a_second_after(start: Start, db: redis.Redis) -> None:
    db.set(f"{PREFIX}paused", "1")
    seed(db, "a")
    _, runner = start(instant=True)
    gevent.sleep(0)
    assert asynq.where_is(db, QUEUE, "a") == "pending"
    db.delete(f"{PREFIX}paused")
    begun = time.monotonic()
    until(lambda: completed(db) == 1, "the result")
    # The rest is the machine's: what the dispatcher plans is a second at most.
    assert intake.PAUSED_RECHECK_S <= 1
    assert time.monotonic() - begun < intake.PAUSED_RECHECK_S + 20
    assert runner.seen == ["a"]


def test_a_degraded_worker_defers_a_task_now_and_then_and_leaves_the_rest_to_others(
    start: Start, db: redis.Redis
) -> None:
    _, runner = start()
    until(lambda: db.info("clients")["blocked_clients"] == 1, "the worker to wait")
    runner.ready, runner.recovery = False, "degraded"
    seed(db, *(f"t{n}" for n in range(10)))
    runner.on_change()
    until(lambda: db.zcard(f"{PREFIX}retry") == 1, "one task to be deferred")
    (deferred,) = db.zrange(f"{PREFIX}retry", 0, -1)
    stored = db.hgetall(f"{PREFIX}t:{deferred.decode()}")
    assert b"degraded" in stored[b"error_msg"]
    assert b"retried" not in stored
    assert db.get(f"{PREFIX}failed") is None
    until(lambda: db.llen(f"{PREFIX}pending") == 9, "the others to wait")
    assert runner.seen == []


def test_a_degraded_worker_that_found_every_queue_empty_looks_again(
    start: Start, db: redis.Redis, asked: list[Sequence[Ask]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.dispatch.gate.DEGRADED_TAKE_EVERY_S", 0.02)
    _, runner = start(queues=(QUEUE, LOW))
    until(lambda: db.info("clients")["blocked_clients"] == 2, "the worker to wait")
    runner.ready, runner.recovery = False, "degraded"
    runner.on_change()
    before = len(asked)
    until(lambda: len(asked) >= before + 2, "it to have looked at both")
    seed(db, "a", queue=LOW)
    until(lambda: asynq.where_is(db, LOW, "a") == "retry", "the task to be deferred")


def test_outcomes_are_settled_as_the_policy_says(start: Start, db: redis.Redis) -> None:
    seed(db, "ok", "flaky", "broken", "killer")
    _, runner = start(concurrency=4)
    until(lambda: len(runner.seen) == 4, "all four to run")
    runner.answer("ok")
    runner.answer("flaky", Failed("later", retry=True))
    runner.answer("broken", Failed("never", retry=False))
    runner.answer("killer", Crashed("SIGKILL"))
    where = {"ok": "completed", "flaky": "retry", "broken": "archived", "killer": "retry"}
    until(lambda: {t: asynq.where_is(db, QUEUE, t) for t in where} == where, "each in its place")


def test_a_task_past_its_deadline_is_failed_without_a_run(start: Start, db: redis.Redis) -> None:
    seed(db, "late", deadline=int(time.time()) - 5)
    seed(db, "after")
    _, runner = start(instant=True)
    until(lambda: asynq.where_is(db, QUEUE, "late") == "retry", "the failure")
    until(lambda: completed(db) == 1, "the one behind it")
    assert runner.seen == ["after"]


def test_a_task_that_waited_too_long_is_archived_without_a_run(start: Start, db: redis.Redis) -> None:
    seed(db, "stale")
    db.hset(f"{PREFIX}t:stale", "pending_since", time.time_ns() - 60 * 10**9)
    policy = replace(POLICY, tasks=TaskSettings(pending_timeout_s=30))
    _, runner = start(instant=True, policy=policy)
    until(lambda: asynq.where_is(db, QUEUE, "stale") == "archived", "the task to be archived")
    assert runner.seen == []


def test_a_task_behind_thousands_of_stray_ids_is_served_all_the_same(start: Start, db: redis.Redis) -> None:
    db.lpush(f"{PREFIX}pending", *(f"ghost{n}" for n in range(2_500)))
    seed(db, "a")
    start(instant=True)
    until(lambda: completed(db) == 1, "the task behind them")


@pytest.mark.leaves_unreadable("messages decode", reason="the task is kept as it was sent")
def test_an_unreadable_task_does_not_stop_the_others(start: Start, db: redis.Redis) -> None:
    db.hset(f"{PREFIX}t:bad", mapping={"msg": b"\xff", "state": "pending"})
    db.lpush(f"{PREFIX}pending", "bad")
    seed(db, "good")
    start(instant=True)
    until(lambda: completed(db) == 1, "the good one")
    until(lambda: asynq.where_is(db, QUEUE, "bad") == "archived", "the bad one to be shelved")


def test_finishing_gives_nothing_up_and_leaves_no_lease(start: Start, db: redis.Redis) -> None:
    seed(db, "a", "b")
    dispatcher, runner = start(concurrency=1)
    until(lambda: runner.seen == ["a"], "a task under way")
    dispatcher.close_intake()
    runner.answer("a")
    assert dispatcher.finish(5)
    assert [asynq.where_is(db, QUEUE, t) for t in "ab"] == ["completed", "pending"]
    assert db.zcard(f"{PREFIX}lease") == 0


def test_a_task_that_comes_back_while_its_lost_run_goes_on_is_adopted_not_run_twice(
    start: Start, db: redis.Redis
) -> None:
    seed(db, "a")
    _, runner = start(concurrency=2)
    until(lambda: runner.seen == ["a"], "the first attempt")
    db.zrem(f"{PREFIX}lease", "a")
    db.lrem(f"{PREFIX}active", 1, "a")
    db.hset(f"{PREFIX}t:a", "state", "pending")
    db.lpush(f"{PREFIX}pending", "a")
    until(lambda: db.hget(f"{PREFIX}t:a", "attempt") == b"2", "the second attempt")
    runner.answer("a")
    until(lambda: completed(db) == 1, "the result")
    assert runner.seen == ["a"]


def test_a_task_made_under_the_id_of_one_deleted_at_work_runs_by_itself_when_that_run_is_over(
    start: Start, db: redis.Redis, broker: Broker
) -> None:
    # given a task that is deleted while it runs, and made again under its id
    seed(db, "a")
    dispatcher, runner = start(concurrency=2)
    until(lambda: runner.seen == ["a"], "the first")
    db.delete(f"{PREFIX}t:a")
    seed(db, "a")
    until(lambda: asynq.where_is(db, QUEUE, "a") == "retry", "the second to be put off while the first runs")

    # when the first ends, its outcome is nobody's
    runner.answer("a", Succeeded(b'"of the first"'))
    until(lambda: dispatcher.slots.empty and not dispatcher.outcomes(), "the first to be over")
    assert asynq.where_is(db, QUEUE, "a") == "retry"

    # then the second runs
    db.zadd(f"{PREFIX}retry", {"a": 1})
    broker.forward([QUEUE])
    until(lambda: runner.seen == ["a", "a"], "the second")
    runner.answer("a", Succeeded(b'"of the second"'))
    until(lambda: completed(db) == 1, "the result")
    assert db.hget(f"{PREFIX}t:a", "result") == b'"of the second"'


# Redis in trouble --------------------------------------------------------------------------------


def test_outcomes_that_redis_could_not_take_arrive_when_it_is_back(
    start: Start, db: redis.Redis, server: RedisServer
) -> None:
    seed(db, "a", "b")
    _, runner = start(concurrency=2)
    until(lambda: len(runner.seen) == 2, "two under way")
    db.config_set("min-replicas-to-write", 1)
    runner.answer("a")
    runner.answer("b", Failed("x", retry=True))
    gevent.sleep(0.01)
    assert completed(db) == 0
    db.config_set("min-replicas-to-write", 0)
    until(lambda: completed(db) == 1, "the result")
    until(lambda: asynq.where_is(db, QUEUE, "b") == "retry", "the failure")
    assert db.get(f"{PREFIX}processed") == b"2"


@pytest.mark.parametrize("reply_lost", [True, False])
def test_a_completion_that_deleted_its_task_is_no_refusal_when_only_its_reply_was_lost(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch, reply_lost: bool
) -> None:
    seed(db, "a")
    dispatcher, runner = start(keep_results=False)
    until(lambda: runner.seen == ["a"], "the task")
    exchange, losses = Broker.exchange, [QueueUnavailable("lost")] if reply_lost else []

    def lossy(self: Broker, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> Exchange:
        answer = exchange(self, settlements, asks)
        if settlements and losses:
            raise losses.pop()
        return answer

    monkeypatch.setattr(Broker, "exchange", lossy)
    if not reply_lost:
        db.delete(f"{PREFIX}t:a")
    with capture_logs() as events:
        runner.answer("a")
        until(lambda: dispatcher.backlog.outcomes == 0 and not losses, "the outcome to be settled")
    refused = [event for event in events if event["event"] == "task.outcome_refused"]
    assert len(refused) == (0 if reply_lost else 1)
    assert dispatcher.tallies[QUEUE].outcomes["completed"] == (1 if reply_lost else 0)


def test_connections_cut_at_any_moment_cost_no_task_anything(start: Start, db: redis.Redis) -> None:
    total = 300
    seed(db, *(f"t{n}" for n in range(total)))
    start(concurrency=4, instant=True)
    rng = random.Random(7)
    while completed(db) < total / 2:
        db.client_kill_filter(_type="normal", skipme=True)
        gevent.sleep(rng.uniform(0.002, 0.02))
    wait.until(lambda: completed(db) == total, 60, "every result", lambda: str(db.keys("*t:*")[:5]))
    charged = [k for k in db.keys(f"{PREFIX}t:*") if db.hget(k, "retried")]
    assert charged == []
    assert db.llen(f"{PREFIX}active") == 0


def test_a_take_whose_reply_was_lost_is_found_and_returned(
    start: Start, endpoint: RedisEndpoint, db: redis.Redis
) -> None:
    seed(db, "lost")
    ghost = Broker(Channel(endpoint, "ghost"), "me", 30, keep_results=True)
    ghost.exchange([], [Ask(QUEUE, 1)])
    _, runner = start(instant=True)
    until(lambda: db.info("clients")["blocked_clients"] == 1, "the worker to wait")
    assert runner.seen == []
    db.client_kill_filter(_type="normal", skipme=True)
    until(lambda: completed(db) == 1, "the lost task to be served")
    assert db.hget(f"{PREFIX}t:lost", "retried") is None


# What it costs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("most_ahead", "trips_a_task"), [(0, 1.1), (32, 0.2)])
def test_a_busy_worker_spends_at_most_one_round_trip_a_task(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch, most_ahead: int, trips_a_task: float
) -> None:
    trips: list[int] = []
    batch = Channel.batch

    def counted(self: Channel, commands: Sequence[Command]) -> list[Any]:
        trips.append(len(commands))
        return batch(self, commands)

    monkeypatch.setattr(pace, "MOST_AHEAD", most_ahead)
    monkeypatch.setattr(Channel, "batch", counted)
    total = 300
    seed(db, *(f"t{n}" for n in range(total)))
    start(instant=True)
    until(lambda: completed(db) == total, "every result")
    assert total / 50 < len(trips) <= total * trips_a_task


def test_a_task_fetched_ahead_goes_back_when_the_one_before_it_takes_long(
    start: Start, db: redis.Redis
) -> None:
    seed(db, *(f"t{n}" for n in range(20)))
    _, runner = start(instant=True)
    until(lambda: completed(db) == 20, "the worker to believe that tasks are short")
    runner.instant = False
    seed(db, "long", "short")
    until(lambda: "long" in runner.seen, "the long one to run")
    until(lambda: asynq.where_is(db, QUEUE, "short") == "pending", "the other to be free for others")
    assert runner.seen[-1] == "long"
    assert db.hget(f"{PREFIX}t:short", "retried") is None
    runner.answer("long")
    until(lambda: "short" in runner.seen, "its turn")
    runner.answer("short")
    until(lambda: completed(db) == 22, "all results")


def wait_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next task fetched ahead and kept, however long the one before it has run on a busy machine."""
    monkeypatch.setattr("appliance.dispatch.pace.MUCH_LONGER", 1e9)
    monkeypatch.setattr("appliance.dispatch.pace.MATTERS", 1e9)
    monkeypatch.setattr("appliance.dispatch.prefetch.HOLD_S", 60)


def test_a_task_fetched_ahead_goes_back_uncharged_when_the_process_dies(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_ahead(monkeypatch)
    seed(db, *(f"t{n}" for n in range(20)))
    dispatcher, runner = start(instant=True)
    until(lambda: completed(db) == 20, "the worker to believe that tasks are short")
    runner.instant = False
    seed(db, "victim", "waiting")
    until(lambda: len(dispatcher.held()) == 2, "one to run and one to wait")
    (victim,) = runner.seen[20:]
    runner.ready = False
    runner.answer(victim, Crashed("killed"))
    other = {"victim": "waiting", "waiting": "victim"}[victim]
    until(lambda: asynq.where_is(db, QUEUE, other) == "pending", "the other to be free")
    assert asynq.where_is(db, QUEUE, victim) == "retry"
    assert db.hget(f"{PREFIX}t:{other}", "retried") is None


def test_a_task_fetched_ahead_can_be_cancelled(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_ahead(monkeypatch)
    seed(db, *(f"t{n}" for n in range(20)))
    dispatcher, runner = start(instant=True)
    until(lambda: completed(db) == 20, "the worker to believe that tasks are short")
    runner.instant = False
    seed(db, "one", "two")
    until(lambda: len(dispatcher.held()) == 2, "one to run and one to wait")
    (running,) = runner.seen[20:]
    waiting = {"one": "two", "two": "one"}[running]
    dispatcher.cancel(waiting, "no longer wanted")
    until(lambda: asynq.where_is(db, QUEUE, waiting) == "archived", "its end")
    runner.answer(running)
    until(lambda: completed(db) == 21, "the other's result")


def test_of_two_tasks_that_share_an_id_the_second_waits_for_the_first(start: Start, db: redis.Redis) -> None:
    seed(db, "twin")
    seed(db, "twin", queue=LOW)
    _, runner = start(concurrency=2, queues=(QUEUE, LOW))
    until(lambda: asynq.where_is(db, LOW, "twin") in {"retry", "scheduled"}, "the second to be deferred")
    assert runner.seen == ["twin"]
    runner.answer("twin")
    until(lambda: asynq.where_is(db, QUEUE, "twin") == "completed", "the first one's result")


def test_a_watch_that_fails_is_tried_again_more_and_more_slowly() -> None:
    tries: list[float] = []

    class NoWaiter:
        def wait(self) -> bytes | None:
            tries.append(time.monotonic())
            raise QueueUnavailable("max number of clients reached")

    watch = Watch(QUEUE, NoWaiter(), lambda: watch.arm())  # noqa: PLW0108  not bound yet  # type: ignore[arg-type]
    watch.arm()
    loop = gevent.spawn(watch.run, Pulses(SystemClock()).new("watch"))
    until(lambda: len(tries) == 6, "six tries")
    loop.kill()
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.4, 0.8), strict=True))


def test_an_idle_worker_asks_nothing(start: Start, db: redis.Redis) -> None:
    start(instant=True)
    until(lambda: db.info("clients")["blocked_clients"] == 1, "the worker to wait")
    before = commands_so_far(db)
    gevent.sleep(0.5)
    assert commands_so_far(db) - before <= 2  # the two INFO of this test
