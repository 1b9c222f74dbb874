"""The ledger against a real Redis: what is done to tasks there is what it tells, in order and dated."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from harness import wait
from harness.evidence import ledger
from harness.faults.processes import stopped
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.redis import RedisServer

QUEUE = "chaos.default"
TAKE = """
local id = redis.call('LMOVE', KEYS[1] .. 'pending', KEYS[1] .. 'active', 'RIGHT', 'LEFT')
redis.call('ZADD', KEYS[1] .. 'lease', ARGV[2], id)
redis.call('HINCRBY', KEYS[1] .. 't:' .. id, 'attempt', 1)
redis.call('HSET', KEYS[1] .. 't:' .. id, 'state', 'active', 'owner', ARGV[1])
return id
"""
RETRY = """
redis.call('LREM', KEYS[1] .. 'active', 1, ARGV[1])
redis.call('ZREM', KEYS[1] .. 'lease', ARGV[1])
redis.call('ZADD', KEYS[1] .. 'retry', 5, ARGV[1])
redis.call('HSET', KEYS[1] .. 't:' .. ARGV[1], 'state', 'retry', 'retried', 1, 'error_msg', 'boom')
"""


@pytest.fixture
def server(tmp_path: Path):
    with RedisServer(tmp_path, persistent=True, extra_args=ledger.OPTIONS) as running:
        yield running


def test_it_tells_each_change_of_a_task_with_its_worker_lease_and_time(
    server: RedisServer, tmp_path: Path
) -> None:
    with closing(server.client()) as db, closing(server.client()) as second, ledger.Clock(second):
        begun_s = time.time()
        wait.until(lambda: db.get("harness:clock"), 60, "the first note of the time")
        db.hset(asynq.worker_key("host-1"), mapping={"instance_id": "w1", "status": "running"})
        asynq.seed_pending(db, QUEUE, NewTask(id="first"), NewTask(id="second"))
        for _ in range(2):
            db.eval(TAKE, 1, f"asynq:{{{QUEUE}}}:", "host-1", 123.5)
        db.eval(RETRY, 1, f"asynq:{{{QUEUE}}}:", "first")
        server.kill()
        server.start()
        noted = db.get("harness:clock")
        wait.until(lambda: db.get("harness:clock") != noted, 60, "another note of the time")
    ended_s = time.time()

    found = ledger.read(tmp_path)

    assert [(each.task_id, each.was, each.state) for each in found.transitions] == [
        ("first", "", "pending"),
        ("second", "", "pending"),
        ("first", "pending", "active"),
        ("second", "pending", "active"),
        ("first", "active", "retry"),
    ]
    last = found.transitions[-1]
    assert (last.worker, last.attempt, last.lease_until_s) == ("w1", 1, 123.5)
    assert (last.charged, last.retried, last.error) == (True, 1, "boom")
    assert all(begun_s - 0.1 <= each.after_s <= each.before_s <= ended_s for each in found.transitions)
    assert found.misplaced == []


def test_it_tells_when_redis_did_nothing(server: RedisServer, tmp_path: Path) -> None:
    with closing(server.client()) as db, ledger.Clock(server.client()):
        wait.until(lambda: db.get("harness:clock"), 60, "the first note of the time")
        assert server.pid is not None
        with stopped(server.pid):
            began_s = time.time()
            wait.until(lambda: time.time() > began_s + 1.2 * ledger.PAUSE_S, 60, "time to pass")
            ended_s = time.time()
        noted = db.get("harness:clock")
        wait.until(lambda: db.get("harness:clock") != noted, 60, "another note of the time")

    assert any(
        before_s <= began_s + 0.1 and ended_s <= after_s for before_s, after_s in ledger.read(tmp_path).pauses
    )


def test_it_sees_a_task_that_was_for_one_command_in_no_place_or_in_two(
    server: RedisServer, tmp_path: Path
) -> None:
    with closing(server.client()) as db:
        asynq.seed_pending(db, QUEUE, NewTask(id="lost"), NewTask(id="doubled"))
        db.rpop(asynq.key(QUEUE, "pending"))
        db.lpush(asynq.key(QUEUE, "active"), "lost")
        db.zadd(asynq.key(QUEUE, "retry"), {"doubled": 5})

    assert ledger.read(tmp_path).misplaced == [("lost", "nowhere"), ("doubled", "pending+retry")]


def test_a_torn_end_is_left_out(server: RedisServer, tmp_path: Path) -> None:
    with closing(server.client()) as db:
        asynq.seed_pending(db, QUEUE, NewTask(id="whole"))
        asynq.seed_pending(db, QUEUE, NewTask(id="torn"))
    server.kill()
    (path,) = ledger.files(tmp_path)
    for cut in range(1, 60):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert [each.task_id for each in ledger.read(tmp_path).transitions] == ["whole"], cut
