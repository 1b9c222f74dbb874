from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.bench.rig.observer import Observer
from harness.bench.rig.ours import QUEUE
from harness.bench.rig.seeding import Seeder
from harness.queue import asynq
from harness.sandbox import patience
from harness.sandbox.redis import RedisServer
from harness.sandbox.runtimes.process import WorkerProcess
from harness.wait import TimedOut

SCRIPT = "redis.call('SET', 'a', 1) redis.call('SET', 'b', 2) return redis.call('GET', 'a')"


@dataclass
class Counted:
    """A contestant of which only the results can be asked."""

    db: redis.Redis
    name: str = "counted"
    how: str = ""
    concurrencies: tuple[int, ...] = field(default=(1,))

    def done(self) -> Any:
        return self.db.zcard("results")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def db(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        client.ping()
        yield client


def test_our_own_looks_are_not_counted(server: RedisServer, db: redis.Redis) -> None:
    observer, contestant = Observer(db, server), Counted(db)
    before = observer.read(contestant)

    for _ in range(50):
        observer.done(contestant)
    after = observer.read(contestant)

    assert (after.commands - before.commands, after.requests - before.requests) == (0, 0)


def test_a_script_and_a_pipeline_are_one_round_trip_each_and_all_their_commands(
    server: RedisServer, db: redis.Redis
) -> None:
    observer, contestant = Observer(db, server), Counted(db)
    before = observer.read(contestant)

    db.eval(SCRIPT, 0)
    with db.pipeline(transaction=False) as pipeline:
        for n in range(5):
            pipeline.zadd("results", {str(n): n})
        pipeline.execute()
    after = observer.read(contestant)

    assert after.done - before.done == 5
    assert after.commands - before.commands == 4 + 5
    assert after.requests - before.requests == 2


def test_commands_inside_scripts_are_not_sent_by_anybody(server: RedisServer, db: redis.Redis) -> None:
    with Observer(db, server).spy() as spy:
        db.eval(SCRIPT, 0)
        db.get("a")

        assert spy.sent() == 2


def test_seeded_tasks_are_what_a_client_would_have_written(db: redis.Redis) -> None:
    seeder = Seeder(db, QUEUE)
    seeder.add(7_000)

    newest = seeder.add_one()

    pending = asynq.get_pending(db, QUEUE)
    task = asynq.get_task(db, QUEUE, newest)
    assert len(set(pending)) == 7_001
    assert pending[-1] == newest
    assert task is not None
    assert (task.message["id"], task.message["queue"], task.state) == (newest, QUEUE, "pending")
    assert asynq.get_queue_of(db, newest) == QUEUE


def test_a_worker_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    with (
        WorkerProcess(["sh", "-c", "echo no queue; exit 7"], {}, tmp_path) as process,
        pytest.raises(TimedOut, match=r"(?s)exit status 7 while waiting for a task.*no queue"),
    ):
        patience.until(process, lambda: False, 60, "a task")
