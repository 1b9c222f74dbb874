"""Redis in trouble of every kind, for as long as it lasts: the worker goes on without a restart, no task is
lost, charged or begun twice, and what was done meanwhile is delivered afterwards."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from harness import wait
from harness.queue import asynq
from harness.sandbox.redis import find_redis_server
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration import world as worlds
from tests.integration.world import QUEUE, World
from tests.machine import old_redis_server


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[World]:
    """A world whose Redis forgets nothing it has answered, not even when it is killed."""
    with worlds.world(tmp_path, persistent=True) as fresh:
        yield fresh


def completed(world: World) -> int:
    return len(asynq.get_completed(world.db, QUEUE))


def all_is_well(world: World, worker: WorkerProcess, task_ids: list[str]) -> None:
    """Every task is completed, and there is no trace of the trouble in any of them."""
    world.completed(len(task_ids), worker)
    assert worker.exit_status is None, worker.tail()
    assert world.diary.begun == Counter(task_ids)
    assert world.charged(task_ids) == 0
    assert asynq.get_counters(world.db, QUEUE) == {"processed": len(task_ids), "failed": 0}
    assert (asynq.get_active(world.db, QUEUE), asynq.get_leases(world.db, QUEUE)) == ([], {})
    assert [event for event in worker.log_events() if event["event"] == "process.crashed"] == []


def again_and_again(world: World, trouble: Callable[[], object], worker: WorkerProcess, total: int) -> int:
    """Make ``trouble`` each time a few more tasks are completed, until all are; returns how often."""
    times, reached = 0, 0
    while reached < total:
        trouble()
        times += 1
        wait.until(
            lambda reached=reached: completed(world) >= min(reached + 20, total),
            30,
            f"more than {reached} results",
            worker.tail,
        )
        reached = completed(world)
    return times


def test_connections_that_are_cut_again_and_again(world: World) -> None:
    world.serve_sleeper()
    worker = world.worker(RUNQY_CONCURRENCY="4")
    world.running(worker)
    task_ids = world.seed(1_000)

    cuts = again_and_again(world, lambda: world.db.client_kill_filter(skipme=True), worker, len(task_ids))

    assert cuts > 10
    all_is_well(world, worker, task_ids)


def test_a_redis_that_hangs_for_longer_than_any_time_out(world: World) -> None:
    world.serve_sleeper(0.01)
    worker = world.worker(RUNQY_CONCURRENCY="4")
    world.running(worker)
    task_ids = world.seed(400)
    wait.until(lambda: completed(world) > 50, 60, "the work to be in full swing", worker.tail)

    with _hanging(world):
        until_s = time.monotonic() + 15
        # What the process has at that moment, and what was fetched ahead of it, come to an end.
        fetched_s = time.monotonic() + 5
        wait.until(lambda: time.monotonic() > fetched_s, 60, "what was fetched ahead to begin")
        wait.until(lambda: world.diary.begun == world.diary.ended, 60, "the slots to be done", worker.tail)
        seen = world.diary.ended
        wait.until(lambda: time.monotonic() > until_s, 60, "the time to pass")
        assert world.diary.ended == seen
    back_s = time.monotonic()
    world.completed(completed(world) + 1, worker)

    assert time.monotonic() - back_s < 40
    all_is_well(world, worker, task_ids)


@pytest.mark.parametrize("away", ["hanging", "down"])
def test_a_redis_that_is_away_for_longer_than_the_leases(durable: World, away: str) -> None:
    durable.serve_sleeper(0.2)
    workers = [durable.worker(RUNQY_CONCURRENCY="4", RUNQY_LEASE_DURATION="2s") for _ in range(2)]
    for worker in workers:
        durable.running(worker)
    task_ids = durable.seed(24, retry=0)
    wait.until(lambda: len(asynq.get_leases(durable.db, QUEUE)) == 8, 60, "all slots to be taken")

    with (_hanging if away == "hanging" else _down)(durable):
        until_s = time.monotonic() + 5
        wait.until(lambda: time.monotonic() > until_s, 60, "the leases to run out")

    all_is_well(durable, workers[0], task_ids)
    assert workers[1].exit_status is None


@pytest.fixture(params=["this machine's", "an old one"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world with this machine's Redis, and one with the oldest there may be."""
    program = find_redis_server() if request.param == "this machine's" else old_redis_server()
    with worlds.world(tmp_path, program=program) as fresh:
        yield fresh


def test_a_failover_that_leaves_us_with_a_replica_for_a_while(either: World) -> None:
    world = either
    world.serve_sleeper()
    worker = world.worker(RUNQY_CONCURRENCY="4")
    world.running(worker)
    task_ids = world.seed(1_000)
    wait.until(lambda: completed(world) > 50, 60, "the work to be in full swing", worker.tail)

    world.db.replicaof("127.0.0.1", 1)
    world.event(worker, "dispatch.redis_unavailable")
    wait.until(lambda: world.diary.begun == world.diary.ended, 60, "the slots to be done", worker.tail)
    done, delivered = world.diary.ended.total(), completed(world)
    world.db.replicaof("no", "one")

    assert done > delivered
    all_is_well(world, worker, task_ids)
    world.event(worker, "dispatch.redis_available")


def test_a_redis_that_loses_power_and_comes_back(durable: World) -> None:
    durable.serve_sleeper()
    worker = durable.worker(RUNQY_CONCURRENCY="4")
    durable.running(worker)
    task_ids = durable.seed(1_000)
    for part in (1, 2, 3):
        wait.until(lambda part=part: completed(durable) > part * 100, 60, "some work", worker.tail)
        durable.redis.kill()
        durable.event(worker, "dispatch.redis_unavailable", part)
        durable.redis.start()

    all_is_well(durable, worker, task_ids)


def test_scripts_that_are_forgotten_again_and_again(world: World) -> None:
    world.serve_sleeper()
    worker = world.worker(RUNQY_CONCURRENCY="4")
    world.running(worker)
    task_ids = world.seed(1_000)

    again_and_again(world, world.db.script_flush, worker, len(task_ids))

    all_is_well(world, worker, task_ids)


def test_an_idle_worker_notices_a_task_after_each_kind_of_trouble(durable: World) -> None:
    durable.serve_sleeper()
    worker = durable.worker()
    durable.running(worker)
    task_ids: list[str] = []
    troubles: list[Callable[[], object]] = [
        lambda: durable.db.client_kill_filter(skipme=True),
        durable.db.script_flush,
        durable.redis.restart,
        lambda: (durable.db.replicaof("127.0.0.1", 1), durable.db.replicaof("no", "one")),
    ]
    for trouble in troubles:
        wait.until(lambda: _blocked(durable.db) == 1, 60, "the worker to wait for work", worker.tail)
        trouble()
        task_ids += durable.seed(1)
        durable.completed(len(task_ids), worker, 15)

    all_is_well(durable, worker, task_ids)


@contextmanager
def _hanging(world: World) -> Iterator[None]:
    pid = world.redis.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _down(world: World) -> Iterator[None]:
    world.redis.kill()
    try:
        yield
    finally:
        world.redis.start()


def _blocked(db: redis.Redis) -> int:
    return int(db.info("clients")["blocked_clients"])
