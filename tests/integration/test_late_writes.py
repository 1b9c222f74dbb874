"""A server that writes stamps and lookups late, before a quick worker: nothing of a task stays for ever."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from harness import wait
from harness.queue import asynq
from harness.sandbox.client import Client
from harness.server.age import Age
from harness.server.behaviour import Behaviour
from harness.server.config import Limits, QueueConfig
from harness.server.fake import FakeServer
from tests.integration.world import QUEUE, World

#: Pauses between the steps in which the server writes a task.
DELAYS_S = (0.0, 0.005, 0.5)
SINGLES, BATCH = 4, 120
LIFETIME_S = 900
#: The server's last write may come two seconds after the task's end; the worker then looks once more.
PATIENCE_S = 30


def sent(server: FakeServer) -> list[str]:
    """Ids of tasks that were sent one by one and in a batch, when the server has written all of them."""
    client, found = Client(server.url, server.client_key), list[str]()

    def one() -> None:
        found.append(client.enqueue(QUEUE, {}).task_id)

    def batch() -> None:
        found.extend(client.enqueue_batch(QUEUE, [{}] * BATCH).task_ids)

    threads = [threading.Thread(target=each) for each in [one] * SINGLES + [batch]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == SINGLES + BATCH
    return found


def for_ever(world: World, task_ids: Sequence[str]) -> list[str]:
    """Keys of these tasks that have no lifetime."""
    keys = [key for each in task_ids for key in (asynq.task_key(QUEUE, each), asynq.lookup_key(each))]
    return [key for key in keys if world.db.ttl(key) == -1]


@pytest.mark.parametrize("storage", [True, False], ids=["results", "no results"])
@pytest.mark.parametrize("age", Age)
def test_no_key_of_a_task_stays_for_ever_however_late_the_server_writes(
    world: World, age: Age, storage: bool
) -> None:
    # given one worker, and servers of different slowness in front of the same Redis
    world.serve_sleeper(redis_storage=storage)
    config = QueueConfig("inference", "unused://", limits=Limits(ttl_completed_s=LIFETIME_S))
    worker = world.worker()
    world.running(worker)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                FakeServer(world.redis.url, [config], behaviour=Behaviour(age=age, write_delay_s=delay_s))
            )
            for delay_s in DELAYS_S
        ]
        # when
        task_ids = [task_id for server in servers for task_id in sent(server)]
        wait.until(
            lambda: asynq.get_counters(world.db, QUEUE)["processed"] == len(task_ids),
            PATIENCE_S,
            f"{len(task_ids)} tasks to be done",
            worker.tail,
        )

    # then
    wait.until(lambda: not for_ever(world, task_ids), PATIENCE_S, "every key to have a lifetime")
    purged_at_s = asynq.get_completed(world.db, QUEUE)
    stamped_s = LIFETIME_S if age is Age.NEWER else 86_400
    assert {round(at_s - time.time(), -2) for at_s in purged_at_s.values()} == (
        {stamped_s} if storage else set()
    )
    # The hash is there for as long as its entry is, and not much longer.
    left_s = {each: world.db.ttl(asynq.task_key(QUEUE, each)) for each in task_ids}
    assert all(0 < left_s[each] + time.time() - at_s < 300 for each, at_s in purged_at_s.items())
    assert storage or set(left_s.values()) == {-2}
