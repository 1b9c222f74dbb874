"""Workers that end without a word, or sleep through their leases: every task is done, settled once, and none
is begun again that had not been begun by the dead."""

import os
import random
import signal
import time
from collections import Counter

import pytest

from harness import wait
from harness.queue import asynq
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration.world import QUEUE, World

#: Ends the n-th attempt when the file ``go{n}`` appears.
PATIENT = """
import json, pathlib, sys, time
print(json.dumps({{"status": "ready"}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    attempt = request["retry_count"]
    while not (pathlib.Path({folder!r}) / f"go{{attempt}}").exists():
        time.sleep(0.005)
    print(json.dumps({{"task_id": request["task_id"], "result": attempt}}), flush=True)
"""
LEASE = {"RUNQY_LEASE_DURATION": "2s"}


def counted(world: World) -> dict[str, int]:
    return asynq.get_counters(world.db, QUEUE)


def log_has(worker: WorkerProcess, event: str) -> bool:
    return any(entry["event"] == event for entry in worker.log_events())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [5])
def test_killed_twenty_times_in_two_thousand_tasks_every_task_is_completed(world: World, seed: int) -> None:
    total, slots, kills, rng = 2_000, 8, 20, random.Random(seed)
    # So long that twenty kills, each noticed late on a busy machine, come before the last task.
    world.serve_sleeper(0.02)
    task_ids = world.seed(total, retry=20)
    for _ in range(kills):
        before = world.entries()
        worker = world.worker(RUNQY_CONCURRENCY=str(slots), **LEASE)
        wait.until(lambda before=before: world.entries() > before, 60, "its first task", worker.tail)
        moment_s = time.monotonic() + rng.uniform(0.0, 0.3)
        wait.until(lambda moment_s=moment_s: time.monotonic() > moment_s, 60, "the moment")
        os.killpg(worker.pid, signal.SIGKILL)
        assert worker.wait(60) == -signal.SIGKILL
    assert len(asynq.get_completed(world.db, QUEUE)) < total, "the kills came too late to mean anything"

    last = world.worker(RUNQY_CONCURRENCY=str(slots), **LEASE)
    world.completed(total, last, 240)

    again = world.diary.begun.total() - total
    assert again <= slots * kills
    assert world.diary.begun.keys() == set(task_ids)
    counters = counted(world)
    # A worker's death is charged to what it held, and that is all there is besides the completions.
    assert counters["processed"] - counters["failed"] == total
    assert counters["failed"] == world.charged(task_ids)
    assert (asynq.get_active(world.db, QUEUE), asynq.get_leases(world.db, QUEUE)) == ([], {})


def test_three_workers_on_one_queue_settle_each_task_once(world: World) -> None:
    total = 3_000
    world.serve_sleeper()
    workers = [world.worker(RUNQY_CONCURRENCY="8", **LEASE) for _ in range(3)]
    for worker in workers:
        world.running(worker)

    task_ids = world.seed(total)
    world.completed(total, workers[0])

    assert world.diary.begun == Counter(task_ids)
    assert counted(world) == {"processed": total, "failed": 0}
    assert world.charged(task_ids) == 0
    assert len({world.result(task_id) for task_id in task_ids}) == 3
    assert not any(log_has(worker, "task.outcome_refused") for worker in workers)


def test_a_worker_that_slept_through_its_lease_cannot_settle_what_another_has(world: World) -> None:
    world.serve({"main.py": PATIENT.format(folder=str(world.folder))})
    (task_id,) = world.seed(1)
    sleeper = world.worker(**LEASE)
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "active", 60, "the run", sleeper.tail)
    sleeper.signal(signal.SIGSTOP)
    other = world.worker(**LEASE)
    world.event(other, "task.recovered")
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "active", 60, "its new run", other.tail)

    (world.folder / "go0").touch()
    sleeper.signal(signal.SIGCONT)
    refused = world.event(sleeper, "task.outcome_refused")

    assert (refused["task_id"], refused["outcome"], refused["fence_reply"]) == (task_id, "Complete", "lost")
    assert asynq.where_is(world.db, QUEUE, task_id) == "active"
    (world.folder / "go1").touch()
    world.completed(1, other)
    assert world.result(task_id) == 1
    assert counted(world) == {"processed": 2, "failed": 1}
    assert world.charged([task_id]) == 1
