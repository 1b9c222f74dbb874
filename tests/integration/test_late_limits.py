"""A time limit that the server stamps on a task after a worker has taken it, as the real server does."""

import time

from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from tests.integration.world import QUEUE, World

#: How long after the enqueue the server writes its stamps.
DELAY_S = 0.5


def enqueue(world: World, task: NewTask, *, active_timeout_s: int) -> str:
    (task_id,) = asynq.seed_pending(world.db, QUEUE, task)
    time.sleep(DELAY_S)
    world.db.hset(asynq.task_key(QUEUE, task_id), "active_timeout", active_timeout_s)
    asynq.write_lookup(world.db, QUEUE, task_id)
    return task_id


def test_a_batch_with_a_limit_in_its_messages_runs_on_when_the_server_stamps_late_that_there_is_none(
    world: World,
) -> None:
    world.serve("raw_sleep")
    worker = world.worker()
    world.running(worker)
    # Main's batch writes 30 s where no timeout was given, for a task of 40 s; in this test they are short.
    task_id = enqueue(world, NewTask({"seconds": 4}, timeout_s=2), active_timeout_s=0)
    world.completed(1, worker)
    assert world.result(task_id)
    assert world.charged([task_id]) == 0


def test_a_limit_that_is_stamped_while_the_task_runs_ends_it(world: World) -> None:
    world.serve("raw_sleep")
    worker = world.worker()
    world.running(worker)
    task_id = enqueue(world, NewTask({"seconds": 60}, retry=0), active_timeout_s=3)
    wait.until(
        lambda: asynq.where_is(world.db, QUEUE, task_id) == "archived",
        20,
        "the task to be ended",
        worker.tail,
    )
    assert "3 s" in asynq.get_task(world.db, QUEUE, task_id).fields["error_msg"]
