"""Tasks of many megabytes in Redis: what is fetched of them, and what is sent back."""

import time
from typing import Any

import pytest
import redis

from appliance.process.outcome import Cancelled, Failed, Outcome
from appliance.queue.broker import Broker
from appliance.queue.message import LARGE_BYTES, Task
from appliance.queue.replies import Ask, FenceReply, Taken
from harness.queue import asynq, wire
from harness.queue.asynq import NewTask
from tests.contract.conftest import POLICY, QUEUE, Strict, seed

LARGE = b'"' + b"x" * (2 * LARGE_BYTES) + b'"'


def take(broker: Broker, count: int = 1, arrived: tuple[bytes, ...] = ()) -> Taken:
    (taken,) = broker.exchange([], [Ask(QUEUE, count, arrived)]).taken
    assert taken is not None
    return taken


def stored(db: redis.Redis, task_id: str) -> dict[str, Any]:
    return wire.decode(db.hget(asynq.task_key(QUEUE, task_id), "msg"))


@pytest.mark.parametrize("how", ["take", "activate"])
def test_a_task_over_the_bound_is_claimed_without_its_message_and_archived_with_the_reason(
    strict: Strict, db: redis.Redis, how: str
) -> None:
    broker = Broker(strict, "me", 30, keep_results=True, max_message_bytes=1024)  # type: ignore[arg-type]
    asynq.seed_pending(db, QUEUE, NewTask(id="large", payload=b"1" * 1024))
    asynq.seed_pending(db, QUEUE, NewTask(id="small"))
    if how == "activate":
        for _ in range(2):
            db.lmove(f"asynq:{{{QUEUE}}}:pending", f"asynq:{{{QUEUE}}}:active", "RIGHT", "LEFT")
    taken = take(broker, 2) if how == "take" else take(broker, arrived=(b"large", b"small"))

    assert [task.lease.task_id for task in taken.tasks] == ["small"]
    ((lease, bytes_),) = taken.too_large
    assert lease.task_id == "large"
    assert bytes_ > 1024
    assert broker.settle([POLICY.refuse(lease, "too large")]) == (FenceReply.DONE,)
    assert asynq.where_is(db, QUEUE, "large") == "archived"
    assert stored(db, "large")["payload"] == b"1" * 1024


def test_a_legacy_task_over_the_bound_is_claimed_without_its_payload(strict: Strict, db: redis.Redis) -> None:
    broker = Broker(strict, "me", 30, keep_results=True, max_message_bytes=1024)  # type: ignore[arg-type]
    db.hset(asynq.task_key(QUEUE, "old"), mapping={"type": "t", "payload": b"1" * 2000, "state": "pending"})
    db.lpush(f"asynq:{{{QUEUE}}}:pending", "old")
    db.sadd(asynq.QUEUES, QUEUE)

    taken = take(broker)

    assert [bytes_ for _, bytes_ in taken.too_large] == [2000]
    broker.settle([POLICY.refuse(taken.too_large[0][0], "too large")])


def test_large_tasks_come_a_few_at_a_time(broker: Broker, db: redis.Redis) -> None:
    for number in range(5):
        asynq.seed_pending(db, QUEUE, NewTask(id=str(number), payload=b'"' + b"x" * 3_000_000 + b'"'))

    assert [len(take(broker, 5).tasks) for _ in range(3)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("outcome", "place"),
    [(Failed("bad luck", retry=True), "retry"), (Cancelled("enough"), "archived")],
    ids=["retry", "archive"],
)
def test_what_changes_in_a_large_message_is_added_to_it(
    broker: Broker, db: redis.Redis, outcome: Outcome, place: str
) -> None:
    asynq.seed_pending(db, QUEUE, NewTask(id="a", payload=LARGE, retry=5))
    before = stored(db, "a")
    (task,) = take(broker).tasks
    assert task.payload == LARGE
    settlement = POLICY.settle(task, outcome, time.time())
    assert len(settlement.message) < 100  # type: ignore[union-attr]

    assert broker.settle([settlement]) == (FenceReply.DONE,)

    assert asynq.where_is(db, QUEUE, "a") == place
    after = stored(db, "a")
    assert (after["payload"], after["type"], after["retry"]) == (LARGE, before["type"], before["retry"])
    assert after["error_msg"] == (outcome.error if isinstance(outcome, Failed) else "enough")
    assert after.get("retried", 0) == (1 if place == "retry" else 0)


def test_a_large_task_that_failed_twice_counts_both(broker: Broker, db: redis.Redis) -> None:
    asynq.seed_pending(db, QUEUE, NewTask(id="a", payload=LARGE, retry=5))
    for number in (1, 2):
        (task,) = take(broker).tasks
        broker.settle([POLICY.settle(task, Failed(f"error {number}", retry=True), time.time())])
        db.zrem(f"asynq:{{{QUEUE}}}:retry", "a")
        db.hset(asynq.task_key(QUEUE, "a"), "state", "pending")
        db.lpush(f"asynq:{{{QUEUE}}}:pending", "a")

    (task,) = take(broker).tasks
    assert task.retried == 2
    assert stored(db, "a")["error_msg"] == "error 2"


def test_a_small_task_is_as_before(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    (task,) = take(broker).tasks
    assert isinstance(task, Task)
    assert not task.apart
    assert task.message


def test_a_take_that_brings_less_because_of_many_bytes_says_that_there_may_be_more(
    broker: Broker, db: redis.Redis
) -> None:
    for task_id in ("a", "b", "c"):
        asynq.seed_pending(db, QUEUE, NewTask(id=task_id, payload=b"1" * 5 * 1024 * 1024))

    first, second, third, fourth = (take(broker, 3) for _ in range(4))

    assert [len(taken.tasks) for taken in (first, second, third, fourth)] == [1, 1, 1, 0]
    assert first.more
    assert second.more
    assert not fourth.more
