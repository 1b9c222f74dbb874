"""Progress beside a task: fenced as an outcome is, seen by readers, gone with the task."""

import json
import time

import pytest
import redis

from appliance.queue.broker import Broker
from appliance.queue.connection import Connection
from appliance.queue.message import Task
from appliance.queue.progress import ProgressStore
from appliance.queue.replies import Ask
from appliance.queue.settlement import Archive, Complete, Retry, Return
from harness.queue import asynq
from harness.queue.inspector import Inspector
from harness.queue.operations import Operations
from tests.contract.conftest import QUEUE, seed


@pytest.fixture
def store(channel: Connection) -> ProgressStore:
    return ProgressStore(channel)


def take(broker: Broker) -> Task:
    (taken,) = broker.exchange((), [Ask(QUEUE, 1)]).taken
    assert taken is not None
    return taken.tasks[0]


def shown(db: redis.Redis) -> object:
    progress = Inspector(db).task("a", QUEUE).progress
    return progress and progress.value


def test_the_progress_of_a_running_task_is_read_back_with_its_time_and_attempt(
    db: redis.Redis, broker: Broker, store: ProgressStore
) -> None:
    seed(db, "a")
    task = take(broker)

    store.write({task.lease: '{"done":1}'})
    store.write({task.lease: '{"done":2}'})

    progress = Inspector(db).task("a").progress
    assert progress is not None
    assert (progress.value, progress.attempt) == ({"done": 2}, 1)
    assert progress.at_s == pytest.approx(time.time(), abs=120)


def test_several_tasks_of_several_queues_travel_together(
    db: redis.Redis, broker: Broker, store: ProgressStore
) -> None:
    seed(db, "a", "b")
    seed(db, "c", queue="other.low")
    high, low = broker.exchange((), [Ask(QUEUE, 2), Ask("other.low", 1)]).taken
    assert high is not None
    assert low is not None

    store.write({task.lease: json.dumps(task.lease.task_id) for task in (*high.tasks, *low.tasks)})

    for task_id in "abc":
        progress = Inspector(db).task(task_id).progress
        assert progress is not None
        assert progress.value == task_id


def test_a_worker_that_lost_the_task_writes_nothing(
    db: redis.Redis, broker: Broker, other: Broker, store: ProgressStore
) -> None:
    seed(db, "a")
    lost = take(other)
    db.zadd(asynq.key(QUEUE, "lease"), {"a": 1})
    other.settle_lapsed([Retry(lost.lease, 0, 1, "lapsed", b"")])
    db.zadd(asynq.key(QUEUE, "retry"), {"a": 1})
    broker.forward([QUEUE])
    mine = take(broker)
    store.write({mine.lease: "2"})

    store.write({lost.lease: "1"})

    assert shown(db) == 2


def test_an_earlier_attempt_of_the_same_worker_writes_nothing(
    db: redis.Redis, broker: Broker, store: ProgressStore
) -> None:
    seed(db, "a")
    first = take(broker)
    broker.settle([Return(first.lease, "shutdown")])
    take(broker)

    store.write({first.lease: "1"})

    assert shown(db) is None


@pytest.mark.parametrize("end", ["complete", "archive", "retry"])
def test_the_last_word_of_an_attempt_may_come_after_its_end(
    db: redis.Redis, broker: Broker, store: ProgressStore, end: str
) -> None:
    seed(db, "a")
    task = take(broker)
    message = asynq.get_task(db, QUEUE, "a")
    assert message is not None
    settlements = {
        "complete": Complete(task.lease, b"[]", 60.0, ""),
        "archive": Archive(task.lease, 60.0, "broken", b""),
        "retry": Retry(task.lease, 60.0, 0, "broken", b""),
    }
    broker.settle([settlements[end]])
    lives_ms = db.pttl(asynq.task_key(QUEUE, "a"))

    store.write({task.lease: '"almost"'})

    assert shown(db) == "almost"
    assert 0 <= lives_ms - db.pttl(asynq.task_key(QUEUE, "a")) < 60_000 or lives_ms == -1


def test_progress_goes_with_the_task(db: redis.Redis, broker: Broker, store: ProgressStore) -> None:
    seed(db, "a", "b")
    first, second = take(broker), take(broker)
    store.write({first.lease: "1", second.lease: "1"})
    broker.settle([Complete(first.lease, b"[]", 60.0, ""), Return(second.lease, "shutdown")])

    Operations(db).delete(QUEUE, "a")
    Operations(db).delete(QUEUE, "b")
    store.write({first.lease: "2", second.lease: "2"})

    assert list(db.scan_iter("asynq:{*}:t:*")) == []
