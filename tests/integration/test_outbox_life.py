"""Results of workers that died while Redis was away: they arrive once, from the state folder, and no task is
run again for them while its lease is still the dead one's."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import wait
from harness.queue import asynq
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration import world as worlds
from tests.integration.world import QUEUE, World

#: Notes each beginning, and ends the n-th attempt when the file ``go{n}`` appears.
HANDLER = """
import json, pathlib, sys, time
folder = pathlib.Path({folder!r})
print(json.dumps({{"status": "ready"}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    attempt = request["retry_count"]
    with open(folder / "begun", "a") as begun:
        begun.write(request["task_id"] + "\\n")
    while not (folder / f"go{{attempt}}").exists():
        time.sleep(0.005)
    (folder / f"done{{attempt}}").touch()
    print(json.dumps({{"task_id": request["task_id"], "result": attempt}}), flush=True)
"""


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[World]:
    """A world whose Redis forgets nothing it has answered."""
    with worlds.world(tmp_path, persistent=True) as fresh:
        fresh.serve({"main.py": HANDLER.format(folder=str(tmp_path))})
        yield fresh


def state(world: World) -> Path:
    return world.folder / "state"


def kept(world: World) -> list[Path]:
    """Files of the state folder that have something in them."""
    return [path for path in state(world).glob("*") if path.stat().st_size]


def worker_on(world: World, **env: str) -> WorkerProcess:
    return world.worker(RUNQY_STATE_DIR=str(state(world)), **env)


def begun(world: World) -> list[str]:
    return (world.folder / "begun").read_text().split()


def finish_while_redis_is_down(world: World, worker: WorkerProcess, task_id: str) -> None:
    """Let the worker's task end without a Redis to tell, and wait until that is on disk."""
    wait.until((world.folder / "begun").exists, 60, "the task to begin", worker.tail)
    assert asynq.where_is(world.db, QUEUE, task_id) == "active"
    assert not state(world).exists(), "the disk was touched while Redis answered"
    world.redis.kill()
    (world.folder / "go0").touch()
    wait.until(lambda: kept(world), 60, "the outcome on disk", worker.tail)


def kill_outright(worker: WorkerProcess) -> None:
    os.killpg(worker.pid, signal.SIGKILL)
    assert worker.wait(60) == -signal.SIGKILL


def test_a_result_survives_its_workers_death_while_redis_was_away(durable: World) -> None:
    (task_id,) = durable.seed(1)
    first = worker_on(durable)
    finish_while_redis_is_down(durable, first, task_id)
    kill_outright(first)

    durable.redis.start()
    assert asynq.where_is(durable.db, QUEUE, task_id) == "active"
    second = worker_on(durable)
    durable.completed(1, second)

    delivered = durable.event(second, "outbox.delivered")
    assert (delivered["task_id"], delivered["outcome"]) == (task_id, "Complete")
    durable.running(second)
    assert durable.result(task_id) == 0
    assert begun(durable) == [task_id]
    assert asynq.get_counters(durable.db, QUEUE) == {"processed": 1, "failed": 0}
    assert list(state(durable).iterdir()) == []


def test_a_stop_while_redis_is_away_leaves_the_result_to_the_next_start(durable: World) -> None:
    (task_id,) = durable.seed(1)
    first = worker_on(durable)
    finish_while_redis_is_down(durable, first, task_id)
    first.terminate()
    assert first.wait(60) == 0
    durable.event(first, "outbox.kept")

    durable.redis.start()
    second = worker_on(durable)

    durable.completed(1, second)
    assert begun(durable) == [task_id]


def test_when_the_lease_ran_out_whoever_comes_first_wins_and_nothing_is_settled_twice(durable: World) -> None:
    (task_id,) = durable.seed(1)
    first = worker_on(durable, RUNQY_LEASE_DURATION="2s")
    finish_while_redis_is_down(durable, first, task_id)
    kill_outright(first)

    # Another worker, elsewhere, takes the task for a dead one's.
    durable.redis.start()
    (durable.folder / "go1").touch()
    elsewhere = durable.worker(RUNQY_LEASE_DURATION="2s")
    durable.completed(1, elsewhere, 60)
    late = worker_on(durable)
    refused = durable.event(late, "outbox.refused")

    assert (refused["task_id"], refused["fence_reply"]) == (task_id, "lost")
    assert durable.result(task_id) == 1
    assert begun(durable) == [task_id, task_id]
    assert asynq.get_counters(durable.db, QUEUE) == {"processed": 2, "failed": 1}
    assert list(state(durable).iterdir()) == []


def test_a_neighbour_delivers_for_the_dead_before_the_lease_runs_out(durable: World) -> None:
    (task_id,) = durable.seed(1)
    first = worker_on(durable)
    finish_while_redis_is_down(durable, first, task_id)
    # It stands still, and lives, while Redis comes back.
    first.signal(signal.SIGSTOP)
    durable.redis.start()
    neighbour = worker_on(durable)
    durable.running(neighbour)
    assert asynq.where_is(durable.db, QUEUE, task_id) == "active", "the file of one that lives was taken"
    kill_outright(first)
    durable.event(neighbour, "outbox.delivered")
    assert begun(durable) == [task_id]
