"""The attacker can write to the state folder: nothing of his is believed, and no worker ends of it."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.queue import record
from appliance.queue.message import Lease
from appliance.queue.record import Kept
from appliance.queue.seal import Seal
from appliance.queue.settlement import Complete
from harness import wait
from harness.queue import asynq
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration import world as worlds
from tests.integration.world import QUEUE, World

GIGABYTES = 16 * 2**30


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(tmp_path_factory.mktemp("world")) as fresh:
        fresh.serve("raw_echo")
        yield fresh


def _claimed_by_the_dead(world: World) -> Lease:
    """A task that a worker which has died is running."""
    lease = Lease(QUEUE, uuid.uuid4().hex, "dead", "1-1")
    fence = {"state": "active", "owner": lease.owner, "attempt": lease.attempt}
    world.db.hset(asynq.task_key(QUEUE, lease.task_id), mapping={"type": "t", "payload": "{}"} | fence)
    world.db.lpush(asynq.key(QUEUE, "active"), lease.task_id)
    world.db.zadd(asynq.key(QUEUE, "lease"), {lease.task_id: time.time() + 3_600})
    return lease


def _redis_of(world: World) -> str:
    return f"127.0.0.1:{world.redis.port}/0"


def _outcome(world: World, lease: Lease, seal: Seal) -> bytes:
    return record.encode(Kept(_redis_of(world), Complete(lease, b'"forged"', 60, ""), 1.0), seal)


def _hostile(folder: Path, world: World, forged: Lease) -> list[str]:
    """One file of each kind; returns their names."""
    key = Seal(world.server.worker_key)
    contents = {
        "forged": _outcome(world, forged, Seal("not the key")).replace(
            Seal("not the key").close(b"")[:8], key.close(b"")[:8]
        ),
        "nested": b"[" * 2_000_000 + b"\n",
        "nested-and-sealed": key.close(b"[" * 2_000_000),
        "since-is-a-text": key.close(_outcome(world, forged, key)[74:-1].replace(b"1.0", b'"x"')),
        "bad-utf8": b"\xff\xfe" * 1_000 + b"\n",
        "terminal": b"\x1b]0;owned\x07\x1b[2J\n",
    }
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.outbox2").write_bytes(content)
    (folder / "sparse.outbox2").touch()
    os.truncate(folder / "sparse.outbox2", GIGABYTES)
    os.mkfifo(folder / "pipe.outbox2")
    (folder / "link.outbox2").symlink_to("/dev/zero")
    (folder / "folder.outbox2").mkdir()
    return sorted(f"{name}.outbox2" for name in (*contents, "sparse", "pipe", "link", "folder"))


def _wait_for_completion(world: World, task_id: str, worker: WorkerProcess) -> None:
    def completed() -> bool:
        return asynq.where_is(world.db, QUEUE, task_id) == "completed"

    wait.until(completed, 60, f"{task_id} to be completed", worker.tail)


def test_whatever_the_files_hold_the_worker_works_and_names_each(shared: World, tmp_path: Path) -> None:
    folder, forged = tmp_path / "state", _claimed_by_the_dead(shared)
    names = _hostile(folder, shared, forged)
    (task_id,) = shared.seed(1)

    worker = shared.worker(RUNQY_STATE_DIR=str(folder))

    _wait_for_completion(shared, task_id, worker)
    assert asynq.where_is(shared.db, QUEUE, forged.task_id) == "active"
    named = [event["file"] for event in worker.log_events() if event["event"] == "outbox.unreadable"]
    assert sorted(named) == names
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.unreadable" for name in names]


def test_the_same_record_with_the_right_key_is_believed(shared: World, tmp_path: Path) -> None:
    """The twin: what keeps the forged one out is its seal, and nothing else about it."""
    folder, lease = tmp_path / "state", _claimed_by_the_dead(shared)
    folder.mkdir()
    (folder / "sealed.outbox2").write_bytes(_outcome(shared, lease, Seal(shared.server.worker_key)))

    worker = shared.worker(RUNQY_STATE_DIR=str(folder))

    _wait_for_completion(shared, lease.task_id, worker)
    assert shared.result(lease.task_id) == "forged"
