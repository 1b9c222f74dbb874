"""The dispatcher on a real Redis, with a runner whose answers the test decides."""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import gevent
import pytest
import redis
from gevent.event import Event
from structlog.testing import capture_logs

from appliance.clock import SystemClock
from appliance.config.settings import TaskSettings
from appliance.control.contract import RedisEndpoint
from appliance.errors import ProcessNotReady, QueueUnavailable
from appliance.loops import dispatch, pace
from appliance.loops.dispatch import Dispatcher
from appliance.loops.intake import HOLD_S, Source
from appliance.loops.order import Order, strict, weighted
from appliance.loops.watch import Watch
from appliance.observe.pulse import Pulses
from appliance.process.work import Deliver, Died, Failed, Outcome, Request, RunnerState, Succeeded
from appliance.queue.broker import Ask, Broker, Exchange
from appliance.queue.connection import Channel, Command
from appliance.queue.settlement import Policy, Settlement
from appliance.queue.waiter import Waiter
from harness import asynq, wait
from harness.redis import RedisServer
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed

LOW = "inference.low"


class ScriptedRunner:
    """Keeps what it is given until the test answers; ``instant`` answers at once."""

    def __init__(self, instant: bool) -> None:
        self.instant = instant
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
        wake, runner = Event(), ScriptedRunner(instant)
        main, control = Channel(endpoint, "dispatch"), Channel(endpoint, "control")
        sources = [Source(q, Watch(q, Waiter(endpoint, q, "watch", control), wake.set)) for q in queues]
        falling = {queue: -position for position, queue in enumerate(queues)}
        dispatcher = Dispatcher(
            sources,
            order or strict(falling),
            Broker(main, "me", 30, keep_results=keep_results),
            runner,  # type: ignore[arg-type]
            policy,
            concurrency=concurrency,
            lease_s=30,
            clock=SystemClock(),
            rng=random.Random(1),
            wake=wake,
        )
        pulses = Pulses(SystemClock())
        loops = [gevent.spawn(dispatcher.run, pulses.new("dispatch"))]
        loops += [gevent.spawn(source.watch.run, pulses.new("watch")) for source in sources]
        started.append((dispatcher, loops, [main, control]))
        return dispatcher, runner

    yield begin
    for dispatcher, loops, channels in started:
        dispatcher.finish(2)
        gevent.killall(loops)
        for channel in channels:
            channel.close()


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
    wait.until(check, 5, what)


def completed(db: redis.Redis) -> int:
    return db.zcard(f"{PREFIX}completed")


def commands_so_far(db: redis.Redis) -> int:
    return int(db.info("stats")["total_commands_processed"])


def test_tasks_that_wait_are_served_oldest_first(start: Start, db: redis.Redis) -> None:
    seed(db, "a", "b", "c")
    _, runner = start(instant=True)
    until(lambda: completed(db) == 3, "three results")
    assert runner.seen == ["a", "b", "c"]


def test_a_task_that_comes_to_an_idle_worker_starts_at_once(start: Start, db: redis.Redis) -> None:
    start(instant=True)
    until(lambda: db.info("clients")["blocked_clients"] == 1, "the worker to wait")
    begun = time.monotonic()
    seed(db, "a")
    until(lambda: completed(db) == 1, "the result")
    assert time.monotonic() - begun < 0.5


def test_never_more_tasks_run_than_there_are_slots(start: Start, db: redis.Redis) -> None:
    seed(db, *(f"t{n}" for n in range(20)))
    dispatcher, runner = start(concurrency=3)
    for n in range(20):
        until(lambda n=n: f"t{n}" in runner.seen, f"task {n}")
        runner.answer(f"t{n}")
    until(lambda: completed(db) == 20, "all results")
    assert runner.most_at_once == 3
    assert dispatcher.in_flight == 0


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
    _, runner = start(queues=(QUEUE, LOW))
    until(lambda: runner.seen == ["low0"], "the first")
    until(lambda: db.info("clients")["blocked_clients"] == 0, "the watches to end")
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
    monkeypatch.setattr(pace, "MOST_AHEAD", 0)
    seed(db, *(f"early{n}" for n in range(100)))
    _, runner = start(queues=(QUEUE, LOW), instant=True, order=weighted({QUEUE: 1, LOW: 1}))
    until(lambda: len(runner.seen) == 100, "the queue to have been alone")
    until(lambda: db.info("clients")["blocked_clients"] == 2, "both to be watched")
    with db.pipeline() as together:
        seed(together, *(f"high{n}" for n in range(50)))
        seed(together, *(f"low{n}" for n in range(50)), queue=LOW)
        together.execute()
    until(lambda: len(runner.seen) == 200, "all of them")
    low = sum(task.startswith("low") for task in runner.seen[100:140])
    assert 12 <= low <= 28, "whichever is noticed first has a few more"


def test_a_task_that_comes_to_a_weighty_queue_that_was_empty_is_next(start: Start, db: redis.Redis) -> None:
    seed(db, "low0", "low1", "low2", queue=LOW)
    _, runner = start(queues=(QUEUE, LOW), order=weighted({QUEUE: 9, LOW: 1}))
    until(lambda: runner.seen == ["low0"], "the first")
    runner.answer("low0")
    until(lambda: runner.seen[1:] == ["low1"], "the second")
    until(lambda: db.info("clients")["blocked_clients"] == 0, "the watch to end")
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
    # given a worker that waits at both queues, and both get tasks in one instant
    monkeypatch.setattr(pace, "MOST_AHEAD", 0)
    _, runner = start(queues=(QUEUE, LOW))
    until(lambda: db.info("clients")["blocked_clients"] == 2, "the worker to wait at both")
    with db.pipeline(transaction=True) as together:
        seed(together, "low", queue=LOW)
        seed(together, *(f"high{n}" for n in range(60)))
        together.execute()

    # when the slot comes free again and again, each time for something urgent
    def answer(n: int) -> None:
        until(lambda: f"high{n}" in runner.seen, f"high {n}")
        gevent.sleep(HOLD_S / 4)
        runner.answer(f"high{n}")

    answered = 0
    while answered < 50 and asynq.where_is(db, LOW, "low") != "pending":
        answer(answered)
        answered += 1

    # then it is there for other workers before these are done, and here it is the last
    assert asynq.where_is(db, LOW, "low") == "pending"
    for n in range(answered, 60):
        answer(n)
    until(lambda: runner.seen[-1] == "low", "the other")
    runner.answer("low")


def test_nothing_is_taken_while_the_process_is_not_ready_and_nothing_is_charged(
    start: Start, db: redis.Redis
) -> None:
    dispatcher, runner = start(instant=True)
    until(lambda: db.info("clients")["blocked_clients"] == 1, "the worker to wait")
    runner.ready = False
    dispatcher.wake()
    until(lambda: db.info("clients")["blocked_clients"] == 0, "the watch to end")
    seed(db, "a")
    until(lambda: asynq.where_is(db, QUEUE, "a") == "pending", "the task to wait")
    assert runner.seen == []
    runner.ready = True
    dispatcher.wake()
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
    assert time.monotonic() - begun < 1.0
    assert runner.seen == ["a"]


def test_a_degraded_worker_puts_a_task_off_now_and_then_and_leaves_the_rest_to_others(
    start: Start, db: redis.Redis
) -> None:
    dispatcher, runner = start()
    until(lambda: db.info("clients")["blocked_clients"] == 1, "the worker to wait")
    runner.ready, runner.recovery = False, "degraded"
    seed(db, *(f"t{n}" for n in range(10)))
    dispatcher.wake()
    until(lambda: db.zcard(f"{PREFIX}retry") == 1, "one task to be put off")
    (put_off,) = db.zrange(f"{PREFIX}retry", 0, -1)
    stored = db.hgetall(f"{PREFIX}t:{put_off.decode()}")
    assert b"degraded" in stored[b"error_msg"]
    assert b"retried" not in stored
    assert db.get(f"{PREFIX}failed") is None
    until(lambda: db.llen(f"{PREFIX}pending") == 9, "the others to wait")
    assert runner.seen == []


def test_a_degraded_worker_that_found_every_queue_empty_looks_again(
    start: Start, db: redis.Redis, asked: list[Sequence[Ask]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "DEGRADED_TAKE_EVERY_S", 0.02)
    dispatcher, runner = start(queues=(QUEUE, LOW))
    until(lambda: db.info("clients")["blocked_clients"] == 2, "the worker to wait")
    runner.ready, runner.recovery = False, "degraded"
    dispatcher.wake()
    before = len(asked)
    until(lambda: len(asked) >= before + 2, "it to have looked at both")
    seed(db, "a", queue=LOW)
    until(lambda: asynq.where_is(db, LOW, "a") == "retry", "the task to be put off")


def test_outcomes_are_settled_as_the_policy_says(start: Start, db: redis.Redis) -> None:
    seed(db, "ok", "flaky", "broken", "killer")
    _, runner = start(concurrency=4)
    until(lambda: len(runner.seen) == 4, "all four to run")
    runner.answer("ok")
    runner.answer("flaky", Failed("later", retry=True))
    runner.answer("broken", Failed("never", retry=False))
    runner.answer("killer", Died("SIGKILL"))
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
    wait.until(lambda: completed(db) == total, 30, "every result", lambda: str(db.keys("*t:*")[:5]))
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


def test_a_task_fetched_ahead_goes_back_uncharged_when_the_process_dies(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "HOLD_S", 60)
    seed(db, *(f"t{n}" for n in range(20)))
    dispatcher, runner = start(instant=True)
    until(lambda: completed(db) == 20, "the worker to believe that tasks are short")
    runner.instant = False
    seed(db, "victim", "waiting")
    until(lambda: len(dispatcher.held()) == 2, "one to run and one to wait")
    (victim,) = runner.seen[20:]
    runner.ready = False
    runner.answer(victim, Died("killed"))
    other = {"victim": "waiting", "waiting": "victim"}[victim]
    until(lambda: asynq.where_is(db, QUEUE, other) == "pending", "the other to be free")
    assert asynq.where_is(db, QUEUE, victim) == "retry"
    assert db.hget(f"{PREFIX}t:{other}", "retried") is None


def test_a_task_fetched_ahead_can_be_cancelled(
    start: Start, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "HOLD_S", 60)
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
    until(lambda: asynq.where_is(db, LOW, "twin") in {"retry", "scheduled"}, "the second to be put off")
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
