"""What the harness shows people of a queue, read out of what the engine wrote."""

import json
import time

import pytest
import redis

from appliance.queue.broker import Broker
from appliance.queue.message import Task
from appliance.queue.replies import Ask
from appliance.queue.settlement import Archive, Complete, Retry
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.queue.inspector import Inspector, NotThere
from harness.queue.views import STATES
from tests.contract.conftest import QUEUE


@pytest.fixture
def inspector(db: redis.Redis) -> Inspector:
    return Inspector(db)


def take(broker: Broker) -> Task:
    (taken,) = broker.exchange((), [Ask(QUEUE, 1)]).taken
    assert taken is not None
    return taken.tasks[0]


def again(db: redis.Redis, broker: Broker) -> None:
    """Have the task that waits for its retry wait for its turn."""
    db.zadd(asynq.key(QUEUE, "retry"), {"a": 1})
    broker.forward([QUEUE])


def test_a_queue_is_shown_with_its_depths_and_counts(
    db: redis.Redis, broker: Broker, inspector: Inspector
) -> None:
    asynq.seed_pending(db, QUEUE, *(NewTask(id=name) for name in "abc"))
    asynq.seed_pending(db, "other.low", NewTask(id="x"))
    done = take(broker)
    broker.settle([Complete(done.lease, b"1", 60.0, "")])
    take(broker)

    shown, other = inspector.queues()

    assert shown.depths == dict.fromkeys(STATES, 0) | {"pending": 1, "active": 1, "completed": 1}
    assert (shown.name, shown.parent, shown.processed, shown.failed) == (QUEUE, "inference", 1, 0)
    assert shown.waiting_s is not None
    assert 0 <= shown.waiting_s < 600
    assert (other.name, other.depths["pending"]) == ("other.low", 1)


def test_an_active_task_says_who_has_it_and_for_how_long(
    db: redis.Redis, broker: Broker, inspector: Inspector
) -> None:
    asynq.seed_pending(db, QUEUE, NewTask({"n": 1}, id="a", type="t", timeout_s=30))
    take(broker)

    shown = inspector.task("a")

    assert (shown.queue, shown.state, shown.type, json.loads(shown.payload)) == (
        QUEUE,
        "active",
        "t",
        {"n": 1},
    )
    assert (shown.worker_id, shown.attempt, shown.timeout_s, shown.max_retry) == ("me", 1, 30, 3)
    assert shown.lease_until_s is not None
    assert shown.lease_until_s > time.time() - 600


def test_a_completed_task_has_its_result_and_its_times(
    db: redis.Redis, broker: Broker, inspector: Inspector
) -> None:
    asynq.seed_pending(db, QUEUE, NewTask(id="a"))
    broker.settle([Complete(take(broker).lease, b'{"sum": 3}', 60.0, "")])

    shown = inspector.task("a").as_json()

    assert (shown["state"], shown["result"]) == ("completed", {"sum": 3})
    assert shown["purge_at_s"] >= shown["completed_at_s"] + 60


def test_the_runs_that_failed_are_told_with_their_attempt_worker_and_reason(
    db: redis.Redis, broker: Broker, other: Broker, inspector: Inspector
) -> None:
    asynq.seed_pending(db, QUEUE, NewTask(id="a"))
    first = take(other)
    db.zadd(asynq.key(QUEUE, "lease"), {"a": 1})
    other.settle_lapsed([Retry(first.lease, 0, 0, "the lease ran out", b"")])
    again(db, broker)
    second = take(broker)
    broker.settle([Retry(second.lease, 0, 0, "ü" * 300, b"")])
    again(db, broker)
    third = take(broker)
    broker.settle([Archive(third.lease, 60.0, "gave up", b"")])

    failures = inspector.task("a").failures

    told = [(each.number, each.worker_id, each.error) for each in failures]
    assert told == [(1, "other", "the lease ran out"), (2, "me", "ü" * 250), (3, "me", "gave up")]
    assert all(each.at_s is not None and abs(each.at_s - time.time()) < 120 for each in failures)


def test_of_many_failed_runs_the_last_ones_are_told(
    db: redis.Redis, broker: Broker, inspector: Inspector
) -> None:
    asynq.seed_pending(db, QUEUE, NewTask(id="a"))
    for _ in range(12):
        broker.settle([Retry(take(broker).lease, 0, 0, "€" * 200, b"")])
        again(db, broker)

    failures = inspector.task("a").failures

    assert [each.number for each in failures] == list(range(13 - len(failures), 13))
    assert 6 <= len(failures) < 12
    assert failures[0].error == "€" * 166 + "\N{REPLACEMENT CHARACTER}"
    assert db.hstrlen(asynq.task_key(QUEUE, "a"), "failures") <= 4096


@pytest.mark.parametrize(
    "left", ["none {", "x" * 50_000 + "\n", "{}\n\n[7]\n\x00\n"], ids=["text", "huge", "lines"]
)
def test_what_another_program_wrote_in_place_of_failures_is_passed_over(
    db: redis.Redis, broker: Broker, inspector: Inspector, left: str
) -> None:
    asynq.seed_pending(db, QUEUE, NewTask(id="a", stamps={"failures": left}))

    broker.settle([Archive(take(broker).lease, 60.0, "broken", b"")])

    assert [each.error for each in inspector.task("a").failures] == ["broken"]


def test_lists_come_in_the_order_people_expect_and_in_pages(db: redis.Redis, inspector: Inspector) -> None:
    now_s, soon_s = int(time.time()), time.time() + 60
    asynq.seed_pending(db, QUEUE, *(NewTask(id=f"p{number}") for number in range(5)))
    for number in range(3):
        asynq.seed_retry(db, QUEUE, NewTask(id=f"r{number}"), due_s=soon_s + number)
        asynq.seed_completed(
            db,
            QUEUE,
            NewTask(id=f"c{number}", message={"completed_at": now_s}, stamps={"completed_at": now_s}),
            result=b"[]",
            purge_at_s=soon_s + number,
        )

    def ids(state: str, **page: int) -> list[str]:
        return [task.id for task in inspector.tasks(QUEUE, state, **page)]

    assert ids("pending") == ["p0", "p1", "p2", "p3", "p4"]
    assert ids("pending", limit=2) == ["p0", "p1"]
    assert ids("pending", limit=2, offset=4) == ["p4"]
    assert ids("pending", limit=2, offset=5) == []
    assert ids("retry") == ["r0", "r1", "r2"]
    assert ids("completed", limit=2) == ["c2", "c1"]
    assert inspector.task_ids(QUEUE, "pending") == ids("pending")


def test_of_what_is_too_large_the_size_is_shown_and_the_rest_as_always(db: redis.Redis) -> None:
    asynq.seed_pending(db, QUEUE, NewTask("x" * 1_000, id="large", retry=7), NewTask("y", id="small"))
    asynq.seed_archived(db, QUEUE, NewTask(id="failed"), error="z" * 600, purge_at_s=time.time() + 60)
    result, done_task = (
        b'"' + b"-" * 598 + b'"',
        NewTask(id="done", message={"completed_at": int(time.time())}),
    )
    asynq.seed_completed(db, QUEUE, done_task, result=result, purge_at_s=time.time() + 60)
    inspector = Inspector(db, largest_bytes=500)

    large, small = inspector.tasks(QUEUE, "pending")
    failed, done = inspector.task("failed", QUEUE), inspector.task("done", QUEUE)

    assert (large.payload, large.state, small.payload, small.left_out) == (b"", "pending", b'"y"', {})
    assert 1_000 < large.left_out["payload"] < 1_100
    assert (failed.error, failed.left_out, failed.payload) == ("", {"error": 600}, b"null")
    assert (done.result, done.left_out) == (None, {"result": 600})
    assert Inspector(db, largest_bytes=600).task("done", QUEUE).result == result


def test_a_state_that_is_none_is_refused(inspector: Inspector) -> None:
    with pytest.raises(ValueError, match="state 'done': expected one of pending"):
        inspector.tasks(QUEUE, "done")


@pytest.mark.parametrize("with_lookup", [True, False])
def test_a_task_is_found_by_its_id_alone(db: redis.Redis, inspector: Inspector, with_lookup: bool) -> None:
    asynq.seed_pending(db, "other.low", NewTask(id="x"))
    asynq.seed_pending(db, QUEUE, NewTask(id="a"))
    if with_lookup:
        asynq.write_lookup(db, QUEUE, "a")

    assert inspector.task("a").queue == QUEUE
    with pytest.raises(NotThere, match="task b: there is no such task"):
        inspector.task("b")
    with pytest.raises(NotThere, match="task a: there is no such task in other"):
        inspector.task("a", "other.low")


@pytest.mark.leaves_unreadable(reason="keys of other types, a message that is none")
def test_what_cannot_be_read_is_shown_as_far_as_it_can(db: redis.Redis, inspector: Inspector) -> None:
    asynq.seed_pending(db, QUEUE, NewTask(id="a"), NewTask(id="b"), NewTask(id="c"))
    db.hset(asynq.task_key(QUEUE, "a"), mapping={"msg": b"\xff\xff", "attempt": "many", "progress": b"\xff{"})
    db.delete(asynq.task_key(QUEUE, "b"))
    db.set(asynq.task_key(QUEUE, "b"), "a string")
    db.set(asynq.key(QUEUE, "archived"), "a string")

    assert [(task.id, bool(task.broken)) for task in inspector.tasks(QUEUE, "pending")] == [
        ("a", True),
        ("c", False),
    ]
    assert "cannot be read" in inspector.task("a").broken
    assert inspector.queue(QUEUE).depths["archived"] == 0
    with pytest.raises(NotThere):
        inspector.queue("none.such")


def test_a_task_in_the_older_form_is_shown(db: redis.Redis, inspector: Inspector) -> None:
    asynq.seed_legacy(db, QUEUE, NewTask({"n": 1}, id="a", type="t", timeout_s=7))

    shown = inspector.task("a")

    assert (shown.type, shown.payload, shown.timeout_s, shown.max_retry) == ("t", b'{"n": 1}', 7, 3)


def test_workers_and_their_recovery_are_shown(db: redis.Redis, inspector: Inspector) -> None:
    now_s = int(time.time())
    recovery = {"inference": {"state": "recovering", "consecutive_fails": 2, "total_restarts": 3}}
    metrics = {"cpu_percent": 1.5, "memory_used_bytes": 1, "memory_total_bytes": 2, "collected_at": now_s}
    beat = {
        "worker_id": "w1",
        "started_at": now_s - 100,
        "last_beat": now_s,
        "concurrency": 2,
        "queues": "map[inference.high:9 inference.low:1]",
        "status": "running",
        "healthy": "1",
        "recovery": json.dumps(recovery),
        "metrics": json.dumps(metrics),
    }
    db.hset(asynq.worker_key("w1"), mapping=beat)
    db.expire(asynq.worker_key("w1"), 30)
    db.zadd(asynq.WORKERS, {"w1": now_s + 1800, "w2": now_s + 600})
    lines = [
        {"ts": 1, "src": "stderr", "text": "one", "seq": 1, "task_id": "a"},
        {"ts": 2, "src": "stdout", "text": "two", "seq": 2},
    ]
    db.rpush(asynq.worker_key("w1") + ":logs", *map(json.dumps, lines))
    db.expire(asynq.worker_key("w1") + ":logs", 30)

    alive, silent = inspector.workers()

    assert (alive.id, alive.status, alive.healthy, alive.stale, alive.concurrency) == (
        "w1",
        "running",
        True,
        False,
        2,
    )
    assert (alive.queues, alive.recovery) == ({"inference.high": 9, "inference.low": 1}, recovery)
    assert (silent.id, silent.stale, silent.last_beat_s) == ("w2", True, None)
    assert [line.text for line in inspector.output()] == ["one", "two"]
    assert [line.text for line in inspector.output(task_id="a")] == ["one"]
    with pytest.raises(NotThere, match="no such worker"):
        inspector.worker("w3")
