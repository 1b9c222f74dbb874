"""What a task costs Redis, in commands that it runs: those inside scripts too. Counted, not timed."""

import time
from collections.abc import Sequence
from contextlib import closing

import pytest
import redis

from appliance.control.contract import RedisEndpoint
from appliance.process.outcome import Succeeded
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from appliance.queue.message import Task
from appliance.queue.replies import Ask, FenceReply
from appliance.queue.settlement import Return
from harness.queue import asynq
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed

STAMPS = {"ttl_completed": 86400, "ttl_archived": 259200, "pending_timeout": 0, "active_timeout": 0}
#: Commands of ours and of connecting.
OUTSIDE = ("info", "config", "client", "hello", "select", "script", "command")


def seed_as_the_server_does(db: redis.Redis, task_ids: Sequence[str]) -> None:
    seed(db, *task_ids)
    for task_id in task_ids:
        db.hset(asynq.task_key(QUEUE, task_id), mapping=STAMPS)
        db.hset(asynq.lookup_key(task_id), "queue", QUEUE)


def commands(db: redis.Redis) -> dict[str, int]:
    found = {name.removeprefix("cmdstat_"): each["calls"] for name, each in db.info("commandstats").items()}
    return {name: calls for name, calls in found.items() if not name.startswith(OUTSIDE)}


def work(broker: Broker, count: int, together: int) -> None:
    """Run ``count`` tasks, as a worker does that settles and takes so many ``together``."""
    running: Sequence[Task] = ()
    done = 0
    while done < count:
        done += len(running)
        settlements = [POLICY.settle(task, Succeeded(b'"a result"'), time.time()) for task in running]
        (taken,) = broker.exchange(settlements, [Ask(QUEUE, together if done < count else 0)]).taken
        assert taken is not None
        running = taken.tasks


@pytest.mark.parametrize(("together", "most"), [(8, 9.2), (16, 8.1), (32, 7.6), (128, 7.2)])
def test_a_task_costs_seven_commands_and_its_share_of_those_that_are_for_all_that_travel_together(
    endpoint: RedisEndpoint, db: redis.Redis, together: int, most: float
) -> None:
    count = 20 * together
    seed_as_the_server_does(db, [f"task-{n:05}" for n in range(count + together)])
    with closing(Channel(endpoint, "cost")) as channel:
        broker = Broker(channel, "me", 30, keep_results=True)
        work(broker, together, together)  # scripts get loaded, the counters of the day begin
        db.config_resetstat()

        work(broker, count, together)

    ran = commands(db)
    assert len(asynq.get_completed(db, QUEUE)) == count + together
    assert sum(ran.values()) / count <= most, ran


def test_tasks_that_end_in_another_order_than_they_began_leave_the_others_as_they_are(
    broker: Broker, db: redis.Redis
) -> None:
    ids = [f"task-{n}" for n in range(40)]
    seed(db, *ids)
    taken = broker.exchange([], [Ask(QUEUE, len(ids))]).taken[0]
    assert taken is not None
    # One near each end of the list, two in the middle: not all are among the oldest that are looked through.
    ended = [ids[position] for position in (1, 19, 21, 38)]
    chosen = [task for task in taken.tasks if task.lease.task_id in ended]

    broker.settle([POLICY.settle(task, Succeeded(b"1"), time.time()) for task in chosen])

    left = [task_id for task_id in ids if task_id not in ended]
    assert asynq.get_active(db, QUEUE) == left[::-1]
    assert set(asynq.get_leases(db, QUEUE)) == set(left)
    assert set(asynq.get_completed(db, QUEUE)) == set(ended)


def test_more_outcomes_than_a_script_can_hand_to_one_command_are_settled_together(
    broker: Broker, db: redis.Redis
) -> None:
    ids = [f"task-{n:05}" for n in range(9_000)]
    seed(db, *ids)
    tasks: list[Task] = []
    while len(tasks) < len(ids):
        taken = broker.exchange([], [Ask(QUEUE, len(ids))]).taken[0]
        assert taken is not None
        tasks += taken.tasks
    assert [task.lease.task_id for task in tasks] == ids

    replies = broker.settle([POLICY.settle(task, Succeeded(b"1"), time.time()) for task in tasks])

    assert set(replies) == {FenceReply.DONE}
    assert asynq.get_active(db, QUEUE) == []
    assert asynq.get_leases(db, QUEUE) == {}
    assert len(asynq.get_completed(db, QUEUE)) == len(ids)


def test_tasks_that_go_back_together_are_served_again_in_their_order(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a", "b", "c", "d")
    taken = broker.exchange([], [Ask(QUEUE, 3)]).taken[0]
    assert taken is not None

    replies = broker.settle([Return(task.lease, "not needed") for task in (*taken.tasks, taken.tasks[0])])

    assert replies == (*[FenceReply.DONE] * 3, FenceReply.SETTLED)
    assert asynq.get_active(db, QUEUE) == []
    assert asynq.get_leases(db, QUEUE) == {}
    again = broker.exchange([], [Ask(QUEUE, 4)]).taken[0]
    assert again is not None
    assert [task.lease.task_id for task in again.tasks] == ["a", "b", "c", "d"]


def test_an_outcome_that_is_sent_twice_at_once_counts_once(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    taken = broker.exchange([], [Ask(QUEUE, 1)]).taken[0]
    assert taken is not None
    settlement = POLICY.settle(taken.tasks[0], Succeeded(b"1"), time.time())

    assert broker.settle([settlement, settlement]) == (FenceReply.DONE, FenceReply.SETTLED)

    assert asynq.get_counters(db, QUEUE)["processed"] == 1


def test_an_id_that_waits_twice_is_taken_once(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a", "b")
    db.rpush(f"{PREFIX}pending", "b")
    taken = broker.exchange([], [Ask(QUEUE, 3)]).taken[0]
    assert taken is not None
    assert ([task.lease.task_id for task in taken.tasks], taken.strays) == (["b", "a"], 1)
    assert asynq.get_active(db, QUEUE) == ["a", "b"]
    assert asynq.get_pending(db, QUEUE) == []
