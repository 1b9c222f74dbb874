"""What people do to tasks and queues: the engine goes on with what the harness wrote, and it reads its state.

Everything is looked at by the strict reader, too, see ``conftest.py``.
"""

import time
from collections.abc import Callable

import pytest
import redis

from appliance.queue import keys
from appliance.queue.broker import Broker
from appliance.queue.replies import Ask
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.queue.inspector import Inspector
from harness.queue.operations import NotPossible, Operations
from harness.queue.views import STATES
from tests.contract.conftest import QUEUE

Act = Callable[[Operations, str], None]
RETRY: Act = lambda operations, task_id: operations.retry(QUEUE, task_id)  # noqa: E731
ARCHIVE: Act = lambda operations, task_id: operations.archive(QUEUE, task_id)  # noqa: E731
DELETE: Act = lambda operations, task_id: operations.delete(QUEUE, task_id)  # noqa: E731


@pytest.fixture
def operations(db: redis.Redis) -> Operations:
    return Operations(db)


@pytest.fixture
def inspector(db: redis.Redis) -> Inspector:
    return Inspector(db)


def seed(db: redis.Redis, state: str, task_id: str = "a") -> None:
    soon_s, task = time.time() + 3600, NewTask({"n": 1}, id=task_id, retried=1)
    match state:
        case "pending":
            asynq.seed_pending(db, QUEUE, task)
        case "active":
            asynq.seed_active(db, QUEUE, task, lease_until_s=soon_s)
        case "scheduled":
            asynq.seed_scheduled(db, QUEUE, task, due_s=soon_s)
        case "retry":
            asynq.seed_retry(db, QUEUE, task, due_s=soon_s)
        case "completed":
            stamps = {"completed_at": int(time.time())}
            done = NewTask({"n": 1}, id=task_id, message=stamps, stamps=stamps)
            asynq.seed_completed(db, QUEUE, done, result=b'{"x":1}', purge_at_s=soon_s)
        case "archived":
            asynq.seed_archived(db, QUEUE, task, purge_at_s=soon_s)
    if state in {"completed", "archived"}:
        db.expire(asynq.task_key(QUEUE, task_id), 3600 + 120)


def take(broker: Broker, count: int = 1) -> list[str]:
    (taken,) = broker.exchange((), [Ask(QUEUE, count)]).taken
    assert taken is not None
    return [task.lease.task_id for task in taken.tasks]


@pytest.mark.parametrize("state", ["scheduled", "retry", "completed", "archived"])
def test_a_task_that_is_retried_by_hand_is_taken_and_runs(
    db: redis.Redis, broker: Broker, operations: Operations, state: str
) -> None:
    seed(db, state)

    operations.retry(QUEUE, "a")

    assert asynq.where_is(db, QUEUE, "a") == "pending"
    assert db.ttl(asynq.task_key(QUEUE, "a")) == -1
    assert take(broker) == ["a"]


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry"])
def test_a_task_that_is_archived_by_hand_is_given_a_lifetime_by_upkeep(
    db: redis.Redis, broker: Broker, operations: Operations, state: str
) -> None:
    seed(db, state)

    operations.archive(QUEUE, "a")

    assert asynq.where_is(db, QUEUE, "a") == "archived"
    assert asynq.get_archived(db, QUEUE)["a"] == pytest.approx(time.time(), abs=60)
    assert take(broker) == []
    broker.purge(QUEUE, 3600)
    assert asynq.where_is(db, QUEUE, "a") == "archived"
    assert db.ttl(asynq.task_key(QUEUE, "a")) > 3000


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry", "completed", "archived"])
def test_of_a_task_that_is_deleted_nothing_is_left(
    db: redis.Redis, operations: Operations, state: str
) -> None:
    seed(db, state)
    asynq.write_lookup(db, QUEUE, "a")

    operations.delete(QUEUE, "a")

    assert [key for key in db.keys("asynq:*") if key != b"asynq:queues"] == []


def test_a_deleted_task_gives_its_unique_lock_back_and_no_other(
    db: redis.Redis, operations: Operations
) -> None:
    locks = [f"asynq:{{{QUEUE}}}:unique:{name}" for name in ("mine", "taken")]
    for task_id, lock in zip("ab", locks, strict=True):
        asynq.seed_pending(
            db,
            QUEUE,
            NewTask(id=task_id, message={"unique_key": lock}, stamps={"unique_key": lock}),
        )
        db.set(lock, "a", ex=600)

    operations.delete(QUEUE, "a")
    operations.delete(QUEUE, "b")

    assert (db.get(locks[0]), db.get(locks[1])) == (None, b"a")


@pytest.mark.parametrize(
    ("act", "states"),
    [
        (RETRY, {"pending", "active"}),
        (ARCHIVE, {"active", "completed", "archived"}),
        (DELETE, {"active"}),
    ],
    ids=["retry", "archive", "delete"],
)
def test_what_a_state_does_not_allow_changes_nothing(
    db: redis.Redis, operations: Operations, act: Act, states: set[str]
) -> None:
    for state in states:
        seed(db, state, state)
    before = sorted(asynq.get_everything(db).splitlines())

    for state in states:
        with pytest.raises(NotPossible, match=f"task {state} is {state}"):
            act(operations, state)

    assert sorted(asynq.get_everything(db).splitlines()) == before


@pytest.mark.parametrize("act", [RETRY, ARCHIVE, DELETE], ids=["retry", "archive", "delete"])
def test_a_task_there_is_not_is_named(operations: Operations, act: Act) -> None:
    with pytest.raises(NotPossible, match="task a: there is no such task"):
        act(operations, "a")


@pytest.mark.leaves_unreadable(
    "a task is somewhere",
    reason="another program has left the task in no list",
)
@pytest.mark.parametrize("act", [RETRY, ARCHIVE, DELETE], ids=["retry", "archive", "delete"])
def test_a_task_that_is_not_where_its_state_says_is_left_alone(
    db: redis.Redis, operations: Operations, act: Act
) -> None:
    seed(db, "retry")
    db.zrem(asynq.key(QUEUE, "retry"), "a")

    with pytest.raises(NotPossible, match="in no list"):
        act(operations, "a")

    assert asynq.get_state(db, QUEUE, "a") == "retry"


def test_cancelling_reaches_the_worker_that_runs_the_task(
    db: redis.Redis, operations: Operations, broker: Broker, request: pytest.FixtureRequest
) -> None:
    seed(db, "pending")
    assert take(broker) == ["a"]
    assert operations.cancel(QUEUE, "a") == 0
    listening = db.pubsub()
    listening.subscribe(keys.CANCEL)
    request.addfinalizer(listening.close)
    assert listening.get_message(timeout=30) is not None

    assert operations.cancel(QUEUE, "a") == 1

    heard = listening.get_message(timeout=30)
    assert heard is not None
    assert heard["data"] == b"a"


@pytest.mark.parametrize("state", [state for state in STATES if state != "active"])
def test_only_a_running_task_is_cancelled(db: redis.Redis, operations: Operations, state: str) -> None:
    seed(db, state)

    with pytest.raises(NotPossible, match=f"is {state}, and only a running task can be cancelled"):
        operations.cancel(QUEUE, "a")


def test_out_of_a_paused_queue_nothing_is_taken_until_it_is_resumed(
    db: redis.Redis, broker: Broker, operations: Operations, inspector: Inspector
) -> None:
    seed(db, "pending")

    operations.pause(QUEUE)

    assert take(broker) == []
    found = inspector.queue(QUEUE)
    assert found.paused
    assert found.paused_at_s == pytest.approx(time.time(), abs=60)
    with pytest.raises(NotPossible, match="is paused already"):
        operations.pause(QUEUE)
    operations.resume(QUEUE)
    assert take(broker) == ["a"]
    with pytest.raises(NotPossible, match="is not paused"):
        operations.resume(QUEUE)


def test_a_queue_no_task_was_sent_to_is_not_paused(db: redis.Redis, operations: Operations) -> None:
    with pytest.raises(NotPossible, match="no task was ever sent"):
        operations.pause("inference.hgih")

    assert db.keys("*") == []


def test_a_task_archived_as_it_waited_has_not_waited_all_the_time_when_it_is_retried(
    db: redis.Redis, operations: Operations, inspector: Inspector
) -> None:
    long_ago_s = int(time.time()) - 86_400
    stamps = {"pending_since": long_ago_s * 10**9, "pending_timeout": 60}
    asynq.seed_pending(db, QUEUE, NewTask(id="a", stamps=stamps))
    operations.archive(QUEUE, "a")

    operations.retry(QUEUE, "a")

    assert inspector.task("a").pending_since_s == pytest.approx(time.time(), abs=600)


@pytest.mark.parametrize("act", ["retry", "archive", "delete"])
def test_a_task_that_has_moved_on_from_the_state_that_was_meant_is_left_alone(
    db: redis.Redis, operations: Operations, act: str
) -> None:
    seed(db, "retry")

    with pytest.raises(NotPossible, match="is retry by now, no longer scheduled; it was left as it is"):
        getattr(operations, act)(QUEUE, "a", "scheduled")

    assert asynq.where_is(db, QUEUE, "a") == "retry"
    getattr(operations, act)(QUEUE, "a", "retry")
    assert asynq.where_is(db, QUEUE, "a") != "retry"
