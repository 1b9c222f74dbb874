"""Recovery of tasks whose leases ran out: what it waits for, and whose tasks it leaves alone."""

from dataclasses import dataclass

import pytest
import redis

from appliance.errors import QueueUnavailable
from appliance.loops.forwarder import AWAY_S, GRACE_S, Forwarder
from appliance.loops.janitor import Janitor
from appliance.loops.recoverer import Recoverer
from appliance.queue.broker import Ask, Broker
from appliance.queue.connection import Channel
from appliance.queue.message import Lease, Task
from harness import asynq
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed


@dataclass
class HandClock:
    """Time that passes when the test says so."""

    now_s: float = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


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
    return Forwarder([QUEUE], broker, recoverer, Janitor(broker, clock), clock)


def expired_task(broker: Broker, db: redis.Redis) -> Task:
    seed(db, "a")
    (task,) = broker.exchange([], [Ask(QUEUE, 1)]).taken[0].tasks
    db.zadd(f"{PREFIX}lease", {"a": 1})
    return task


def test_a_task_whose_worker_died_is_recovered_at_the_next_look(
    forwarder: Forwarder, other: Broker, db: redis.Redis
) -> None:
    expired_task(other, db)
    forwarder.tick()
    assert asynq.where_is(db, QUEUE, "a") == "retry"


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
    forwarder: Forwarder, broker: Broker, held: list[Lease], db: redis.Redis
) -> None:
    task = expired_task(broker, db)
    held.append(task.lease)
    forwarder.tick()
    assert asynq.where_is(db, QUEUE, "a") == "active"
    held.clear()
    forwarder.tick()
    assert asynq.where_is(db, QUEUE, "a") == "retry"
