"""Seeding and looking: what is put somewhere is found there, and nowhere else."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.redis import RedisServer

Q = "inference.high"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def db(server: RedisServer) -> Iterator[redis.Redis]:
    client = server.client()
    client.flushall()
    yield client
    client.close()


def seed_everywhere(db: redis.Redis) -> None:
    soon = time.time() + 60
    asynq.seed_pending(db, Q, NewTask(id="pending"))
    asynq.seed_active(db, Q, NewTask(id="active"), lease_until_s=soon)
    asynq.seed_scheduled(db, Q, NewTask(id="scheduled"), due_s=soon)
    asynq.seed_retry(db, Q, NewTask(id="retry", retried=1), due_s=soon)
    asynq.seed_completed(db, Q, NewTask(id="completed"), result=b'{"a":1}', purge_at_s=soon)
    asynq.seed_archived(db, Q, NewTask(id="archived", retried=3), purge_at_s=soon)


def test_a_seeded_task_is_in_its_place_and_its_hash_agrees(db: redis.Redis) -> None:
    seed_everywhere(db)
    for place in asynq.PLACES:
        assert asynq.where_is(db, Q, place) == place
        assert asynq.where_are(db, Q, [place, "other"]) == [place, "nowhere"]
        assert asynq.get_state(db, Q, place) == place
    assert db.smembers("asynq:queues") == {Q.encode()}


def test_a_task_in_no_place_or_in_two_is_told(db: redis.Redis) -> None:
    asynq.seed_pending(db, Q, NewTask(id="a"))
    assert asynq.where_is(db, Q, "b") == "nowhere"
    db.zadd(asynq.key(Q, "retry"), {"a": 1})
    assert asynq.where_is(db, Q, "a") == "pending+retry"
    assert asynq.where_are(db, Q, ["b", "a"]) == ["nowhere", "pending+retry"]


def test_pending_is_read_in_the_order_of_serving(db: redis.Redis) -> None:
    asynq.seed_pending(db, Q, NewTask(id="first"), NewTask(id="second"))
    assert asynq.get_pending(db, Q) == ["first", "second"]
    assert db.rpop(asynq.key(Q, "pending")) == b"first"


def test_the_scores_are_read_back(db: redis.Redis) -> None:
    asynq.seed_active(db, Q, NewTask(id="leased"), lease_until_s=1_700_000_000.5)
    asynq.seed_active(db, Q, NewTask(id="bare"), lease_until_s=None)
    asynq.seed_scheduled(db, Q, NewTask(id="s"), due_s=5)
    assert asynq.get_leases(db, Q) == {"leased": 1_700_000_000.5}
    assert set(asynq.get_active(db, Q)) == {"leased", "bare"}
    assert asynq.get_scheduled(db, Q) == {"s": 5.0}
    assert (asynq.get_retry(db, Q), asynq.get_completed(db, Q), asynq.get_archived(db, Q)) == ({}, {}, {})


def test_a_task_is_read_with_its_message_and_its_hash(db: redis.Redis) -> None:
    task = NewTask(
        {"n": 1}, id="a", type="t", timeout_s=30, message={"headers": {"x": "y"}}, stamps={"ttl_completed": 5}
    )
    asynq.seed_pending(db, Q, task)

    found = asynq.get_task(db, Q, "a")

    assert found is not None
    assert found.message == {
        "type": "t",
        "payload": b'{"n": 1}',
        "id": "a",
        "queue": Q,
        "retry": 3,
        "timeout": 30,
        "headers": {"x": "y"},
    }
    assert found.fields["ttl_completed"] == "5"
    assert abs(int(found.fields["pending_since"]) - time.time_ns()) < 60 * 10**9
    assert asynq.get_task(db, Q, "b") is None


def test_failures_are_counted_in_hash_and_message(db: redis.Redis) -> None:
    asynq.seed_retry(db, Q, NewTask(id="a", retried=2), due_s=1, error="why")
    found = asynq.get_task(db, Q, "a")
    assert found is not None
    assert (found.fields["retried"], found.message["retried"], found.fields["error_msg"]) == ("2", 2, "why")


def test_a_result_is_read_as_json(db: redis.Redis) -> None:
    seed_everywhere(db)
    done = asynq.get_task(db, Q, "completed")
    waiting = asynq.get_task(db, Q, "pending")
    assert done is not None
    assert waiting is not None
    assert (done.result, waiting.result) == ({"a": 1}, None)


def test_the_legacy_form_has_no_message(db: redis.Redis) -> None:
    asynq.seed_legacy(db, Q, NewTask({"n": 1}, id="old", type="t", retry=2, retried=1))
    found = asynq.get_task(db, Q, "old")
    assert found is not None
    assert found.message == {}
    assert json.loads(found.fields["payload"]) == {"n": 1}
    assert (found.fields["max_retry"], found.fields["retry"]) == ("2", "1")
    assert asynq.where_is(db, Q, "old") == "pending"


def test_counters_lookups_and_heartbeats_are_read(db: redis.Redis, tmp_path: Path) -> None:
    assert asynq.get_counters(db, Q) == {"processed": 0, "failed": 0}
    db.incr(asynq.key(Q, "processed"))
    assert asynq.get_counters(db, Q) == {"processed": 1, "failed": 0}
    assert asynq.get_queue_of(db, "a") is None
    asynq.write_lookup(db, Q, "a")
    assert asynq.get_queue_of(db, "a") == Q
    db.zadd("asynq:workers", {"w1": 1, "w0": 0})
    db.hset("asynq:workers:w1", "status", "running")
    assert asynq.get_worker_ids(db) == ["w0", "w1"]
    assert asynq.get_worker(db, "w1") == {"status": "running"}
    assert asynq.get_worker(db, "w0") == {}
