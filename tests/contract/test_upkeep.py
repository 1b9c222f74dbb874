"""Recovery of tasks whose leases ran out: what it waits for, and whose tasks it leaves alone."""

import pytest
import redis

from appliance.errors import QueueRejected, QueueUnavailable
from appliance.loops.forwarder import AWAY_S, GRACE_S, Forwarder
from appliance.loops.janitor import Janitor
from appliance.loops.recoverer import Recoverer
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from appliance.queue.message import Lease, Task
from appliance.queue.replies import Ask, FenceReply
from harness.queue import asynq
from harness.queue.asynq import NewTask
from tests.clock import HandClock
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed

LEASE_S = 30


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def held() -> list[Lease]:
    """What the worker under test holds."""
    return []


@pytest.fixture
def forwarder(broker: Broker, clock: HandClock, held: list[Lease]) -> Forwarder:
    recoverer = Recoverer(broker, POLICY, clock, lambda: held)
    return Forwarder([QUEUE], broker, recoverer, Janitor(broker, clock, 60), clock, LEASE_S)


@pytest.fixture
def settled_in(forwarder: Forwarder, clock: HandClock) -> Forwarder:
    """The same, after the time in which a worker that has just started recovers nothing."""
    for _ in range(int(GRACE_S) + 1):
        forwarder.tick()
        clock.sleep(1)
    return forwarder


def expired_task(broker: Broker, db: redis.Redis) -> Task:
    seed(db, "a")
    (task,) = broker.exchange([], [Ask(QUEUE, 1)]).taken[0].tasks
    db.zadd(f"{PREFIX}lease", {"a": 1})
    return task


def test_a_task_whose_worker_died_is_recovered_at_the_next_look(
    settled_in: Forwarder, other: Broker, db: redis.Redis
) -> None:
    expired_task(other, db)
    settled_in.tick()
    assert asynq.where_is(db, QUEUE, "a") == "retry"


def test_a_worker_that_starts_as_redis_comes_back_leaves_the_living_their_tasks(
    forwarder: Forwarder, other: Broker, clock: HandClock, db: redis.Redis
) -> None:
    task = expired_task(other, db)
    forwarder.tick()
    clock.sleep(GRACE_S - 0.1)
    assert other.extend([task.lease]) == {task.lease: FenceReply.DONE}
    forwarder.tick()
    clock.sleep(1)
    forwarder.tick()
    assert asynq.where_is(db, QUEUE, "a") == "active"


def test_when_redis_clock_is_set_forward_the_living_get_a_lease_s_time_to_prolong_theirs(
    settled_in: Forwarder, other: Broker, clock: HandClock, db: redis.Redis
) -> None:
    expired_task(other, db)
    # Seen from Redis: more time has passed there than here.
    clock.now_s -= AWAY_S + 2
    settled_in.tick()
    assert asynq.where_is(db, QUEUE, "a") == "active"
    for _ in range(LEASE_S - 1):
        clock.sleep(1)
        settled_in.tick()
    assert asynq.where_is(db, QUEUE, "a") == "active"
    clock.sleep(2)
    settled_in.tick()
    assert asynq.where_is(db, QUEUE, "a") == "retry"


def test_large_tasks_are_recovered_some_at_a_time_and_all_of_them(
    settled_in: Forwarder, other: Broker, db: redis.Redis
) -> None:
    ids = [str(n) for n in range(5)]
    asynq.seed_pending(db, QUEUE, *[NewTask("x" * 2_000_000, id=task_id) for task_id in ids])
    for _ in range(2):  # a take, too, brings no more than some of them
        other.exchange([], [Ask(QUEUE, 5)])
    db.zadd(f"{PREFIX}lease", dict.fromkeys(ids, 1))

    assert len(other.lapsed(QUEUE).tasks) == 3
    assert settled_in.tick() == 0, "there are more"
    settled_in.tick()
    assert {asynq.where_is(db, QUEUE, task_id) for task_id in ids} == {"retry"}


@pytest.mark.leaves_unreadable("keys are of their type", reason="that is what it is about")
def test_all_queues_are_looked_at_in_one_round_trip_also_beside_one_that_is_refused(
    broker: Broker, channel: Channel, clock: HandClock, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = [f"inference.{n}" for n in range(20)]
    for queue in queues:
        asynq.seed_retry(db, queue, NewTask(id=queue), due_s=1)
    db.set(asynq.key(queues[3], "pending"), "no list")
    recoverer, janitor = Recoverer(broker, POLICY, clock, list), Janitor(broker, clock, 60)
    trips: list[int] = []
    batch = channel.batch
    monkeypatch.setattr(channel, "batch", lambda commands: (trips.append(len(commands)), batch(commands))[1])

    forwarder = Forwarder(queues, broker, recoverer, janitor, clock, LEASE_S)
    with pytest.raises(QueueRejected):
        forwarder.tick()
    trips.clear()
    with pytest.raises(QueueRejected):
        forwarder.tick()

    assert trips == [20]
    waiting = [queue for queue in queues if db.zcard(asynq.key(queue, "retry"))]
    assert waiting == [queues[3]]


def test_after_an_outage_the_living_get_time_to_prolong_their_leases(
    forwarder: Forwarder, other: Broker, channel: Channel, clock: HandClock, db: redis.Redis
) -> None:
    forwarder.tick()
    task = expired_task(other, db)
    db.client_kill_filter(skipme=True)
    with pytest.raises(QueueUnavailable):
        forwarder.tick()
    clock.sleep(AWAY_S + 0.1)

    forwarder.tick()
    clock.sleep(GRACE_S - 0.1)
    forwarder.tick()

    assert asynq.where_is(db, QUEUE, "a") == "active"
    assert task.lease in other.extend([task.lease])


def test_who_has_not_come_back_when_that_time_is_over_is_dead(
    forwarder: Forwarder, other: Broker, clock: HandClock, db: redis.Redis
) -> None:
    forwarder.tick()
    expired_task(other, db)
    clock.sleep(AWAY_S + 0.1)
    forwarder.tick()
    assert asynq.where_is(db, QUEUE, "a") == "active"
    for _ in range(int(GRACE_S) + 1):
        clock.sleep(1)
        forwarder.tick()
    assert asynq.where_is(db, QUEUE, "a") == "retry"


def test_a_worker_does_not_recover_what_it_holds_itself(
    settled_in: Forwarder, broker: Broker, held: list[Lease], db: redis.Redis
) -> None:
    task = expired_task(broker, db)
    held.append(task.lease)
    settled_in.tick()
    assert asynq.where_is(db, QUEUE, "a") == "active"
    held.clear()
    settled_in.tick()
    assert asynq.where_is(db, QUEUE, "a") == "retry"
