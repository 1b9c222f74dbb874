"""Redis takes nothing back of a script that fails half way: where another program has made a key of a queue
something else, a step is done whole or not at all, and what failed is done once the key is right again."""

import time
from collections.abc import Callable

import pytest
import redis

from appliance.errors import QueueError
from appliance.process.outcome import Failed, Returned, Succeeded
from appliance.queue.broker import Broker
from appliance.queue.message import Task
from appliance.queue.replies import Ask
from appliance.queue.settlement import Defer, Settlement
from harness.queue import asynq
from harness.queue.asynq import NewTask
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed

STEPS: dict[str, tuple[Callable[[Task], Settlement], str]] = {
    "complete": (lambda task: POLICY.settle(task, Succeeded(b"1"), time.time()), "completed"),
    "retry": (lambda task: POLICY.settle(task, Failed("later", retry=True), time.time()), "retry"),
    "archive": (lambda task: POLICY.settle(task, Failed("never", retry=False), time.time()), "archived"),
    "return": (lambda task: POLICY.settle(task, Returned("stopping"), time.time()), "pending"),
    "defer": (lambda task: Defer(task.lease, 60, "degraded"), "retry"),
}
KEYS = ("pending", "active", "lease", "scheduled", "retry", "completed", "archived", "ended_early")
SPOILED = pytest.mark.leaves_unreadable(reason="a key was of another type, and what it held is gone")


def spoil(db: redis.Redis, key: str) -> None:
    db.delete(f"{PREFIX}{key}")
    db.set(f"{PREFIX}{key}", "another program's")


@SPOILED
@pytest.mark.parametrize("key", [*KEYS, "processed", "failed"])
@pytest.mark.parametrize("step", STEPS)
def test_an_outcome_is_settled_whole_or_not_at_all(
    broker: Broker, db: redis.Redis, step: str, key: str
) -> None:
    settle, place = STEPS[step]
    seed(db, "a")
    (task,) = broker.exchange([], [Ask(QUEUE, 1)]).taken[0].tasks  # type: ignore[union-attr]
    spoil(db, key)

    answer = broker.exchange([settle(task)], [])

    state = db.hget(asynq.task_key(QUEUE, "a"), "state").decode()
    assert state in ("active", place)
    if key not in ("active", "lease") and state == "active":
        assert db.lrange(f"{PREFIX}active", 0, -1) == [b"a"]
        assert db.zscore(f"{PREFIX}lease", "a")
    assert answer.failure is not None or state == place

    db.delete(f"{PREFIX}{key}")
    broker.settle([settle(task)])
    assert asynq.where_is(db, QUEUE, "a") == place
    assert db.lrange(f"{PREFIX}active", 0, -1) == []
    assert db.zrange(f"{PREFIX}lease", 0, -1) == []


@SPOILED
def test_what_is_due_stays_where_it_waits_while_pending_is_no_list(broker: Broker, db: redis.Redis) -> None:
    asynq.seed_scheduled(db, QUEUE, NewTask(id="a"), due_s=1)
    spoil(db, "pending")
    assert isinstance(broker.forward([QUEUE]).failure, QueueError)
    assert db.zrange(f"{PREFIX}scheduled", 0, -1) == [b"a"]

    db.delete(f"{PREFIX}pending")
    broker.forward([QUEUE])
    assert asynq.where_is(db, QUEUE, "a") == "pending"


@SPOILED
@pytest.mark.parametrize("how", ["reclaim", "reconcile"])
def test_an_id_at_work_stays_where_it_is_while_pending_is_no_list(
    broker: Broker, db: redis.Redis, how: str
) -> None:
    seed(db, "a")
    if how == "reconcile":
        broker.exchange([], [Ask(QUEUE, 1)])
    else:
        db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    give_back = {
        "reclaim": lambda: broker.reclaim(QUEUE, [b"a"]),
        "reconcile": lambda: broker.reconcile(QUEUE, []),
    }[how]
    spoil(db, "pending")
    with pytest.raises(QueueError):
        give_back()
    assert db.lrange(f"{PREFIX}active", 0, -1) == [b"a"]

    db.delete(f"{PREFIX}pending")
    give_back()
    assert asynq.where_is(db, QUEUE, "a") == "pending"
