"""Outcomes the fence refuses: whose they are, and what becomes of the task and its reverse lookup."""

import time

import pytest
import redis

from appliance.process.outcome import Cancelled, Outcome, Succeeded
from appliance.queue.broker import Broker
from appliance.queue.message import Task
from appliance.queue.replies import Ask, FenceReply
from harness.queue import asynq
from tests.contract.conftest import OUTLIVES_S, POLICY, PREFIX, QUEUE, Strict, seed


def take_one(broker: Broker) -> Task:
    (taken,) = broker.exchange([], [Ask(QUEUE, 1)]).taken
    assert taken is not None
    (task,) = taken.tasks
    return task


def settle(broker: Broker, task: Task, outcome: Outcome) -> FenceReply | None:
    (reply,) = broker.settle([POLICY.settle(task, outcome, time.time())])
    return reply


def test_an_outcome_of_an_earlier_attempt_of_the_same_worker_is_refused(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    first = take_one(broker)
    assert broker.reconcile(QUEUE, []) == ["a"]  # the reply of the take was lost on the way
    second = take_one(broker)

    assert settle(broker, first, Succeeded(b"1")) is FenceReply.LOST

    assert asynq.where_is(db, QUEUE, "a") == "active"
    assert settle(broker, second, Succeeded(b"2")) is FenceReply.DONE
    assert db.hget(f"{PREFIX}t:a", "result") == b"2"


@pytest.mark.parametrize("end", [Succeeded(b"2"), Cancelled("enough")], ids=["completed", "archived"])
def test_the_lookup_of_a_task_that_another_ended_meanwhile_ends_with_the_task(
    broker: Broker, other: Broker, db: redis.Redis, end: Outcome
) -> None:
    seed(db, "a")
    db.hset("asynq:t:a", "queue", QUEUE)
    late = take_one(other)
    assert other.reconcile(QUEUE, []) == ["a"]
    assert settle(broker, take_one(broker), end) is FenceReply.DONE

    assert settle(other, late, Succeeded(b"1")) is FenceReply.LOST

    ends_s = db.ttl(f"{PREFIX}t:a")
    assert ends_s - OUTLIVES_S - 2 <= db.ttl("asynq:t:a") <= ends_s


def test_the_lookup_of_a_task_that_another_still_works_on_stays(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    db.hset("asynq:t:a", "queue", QUEUE)
    late = take_one(other)
    assert other.reconcile(QUEUE, []) == ["a"]
    take_one(broker)

    assert settle(other, late, Succeeded(b"1")) is FenceReply.LOST

    assert db.hget("asynq:t:a", "queue") == QUEUE.encode()
    assert db.ttl("asynq:t:a") == -1


def test_the_lookup_of_a_task_that_another_ended_and_deleted_meanwhile_does_not_come_back_for_ever(
    strict: Strict, db: redis.Redis
) -> None:
    late, quick = (Broker(strict, name, 30, keep_results=False) for name in ("late", "quick"))  # type: ignore[arg-type]
    seed(db, "a")
    db.hset("asynq:t:a", "queue", QUEUE)
    lost = POLICY.settle(take_one(late), Succeeded(b"1"), time.time())
    assert late.reconcile(QUEUE, []) == ["a"]
    task = take_one(quick)

    assert late.exchange([lost], []).replies == (FenceReply.LOST,)
    assert settle(quick, task, Succeeded(b"2")) is FenceReply.DONE
    late.mend_lookups()

    assert db.exists(f"{PREFIX}t:a") == 0
    assert db.ttl("asynq:t:a") != -1


def test_the_hash_of_an_ended_task_is_there_until_upkeep_has_purged_its_entry(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    assert settle(broker, take_one(broker), Succeeded(b"1")) is FenceReply.DONE
    purged_from_s = db.zscore(f"{PREFIX}completed", "a")
    assert time.time() + db.pttl(f"{PREFIX}t:a") / 1000 > purged_from_s + OUTLIVES_S - 2
