"""Every transition of a task, on a real Redis: where it is afterwards and what its hash says.

All of it three times: on the oldest Redis as well, and on a cluster of three nodes, where a script may touch
the keys of one slot only, and reverse lookups are elsewhere.
"""

import time
from collections.abc import Callable, Sequence

import pytest
import redis

from appliance.process.outcome import Cancelled, Crashed, Failed, Outcome, Returned, Succeeded
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from appliance.queue.message import Lease, Task
from appliance.queue.replies import Ask, FenceReply, Taken
from appliance.queue.settlement import Return, Settlement
from harness.queue import asynq, wire
from harness.sandbox.cluster import RedisCluster
from harness.sandbox.redis import RedisServer
from tests.contract import conftest
from tests.contract.conftest import OUTLIVES_S, POLICY, PREFIX, QUEUE, seed


@pytest.fixture(params=["one Redis", "an old one", "cluster"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RedisServer | RedisCluster:
    if request.param != "cluster":
        return request.getfixturevalue("single" if request.param == "one Redis" else "embedded")
    cluster: RedisCluster = request.getfixturevalue("cluster")
    if conftest.holds_to_one_slot(cluster):
        conftest.change_scripts(monkeypatch, lambda source: conftest.ONE_SLOT + source)
    return cluster


def take(broker: Broker, count: int = 1) -> Taken:
    return broker.exchange([], [Ask(QUEUE, count)]).taken[0]


def take_one(broker: Broker) -> Task:
    (task,) = take(broker).tasks
    return task


def hash_of(db: redis.Redis, task_id: str) -> dict[bytes, bytes]:
    return db.hgetall(f"{PREFIX}t:{task_id}")


def grow_old(db: redis.Redis, shelf: str, task_id: str) -> None:
    """Let the lifetime of an ended task be over: its score has passed, and its hash is about to go."""
    db.zadd(f"{PREFIX}{shelf}", {task_id: int(time.time()) - 1}, xx=True)
    db.pexpire(f"{PREFIX}t:{task_id}", 1_500)


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


# take --------------------------------------------------------------------------------------------


def test_a_take_serves_the_oldest_first_and_stamps_owner_attempt_and_lease(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "old", "new")
    before = time.time()

    task = take_one(broker)

    assert (task.lease.task_id, task.lease.owner, task.lease.number) == ("old", "me", "1")
    assert asynq.where_is(db, QUEUE, "old") == "active"
    stored = hash_of(db, "old")
    assert (stored[b"state"], stored[b"owner"], stored[b"attempt"]) == (b"active", b"me", b"1")
    assert b"pending_since" not in stored
    assert before + 29 < db.zscore(f"{PREFIX}lease", "old") < time.time() + 31


def test_a_take_brings_at_most_what_was_asked_for_and_what_there_is(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a", "b", "c")
    assert [t.lease.task_id for t in take(broker, 2).tasks] == ["a", "b"]
    assert [t.lease.task_id for t in take(broker, 2).tasks] == ["c"]
    assert take(broker, 2).tasks == ()


def test_nothing_is_taken_from_a_paused_queue(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.set(f"{PREFIX}paused", "1")
    taken = take(broker)
    assert (taken.paused, taken.tasks) == (True, ())
    db.delete(f"{PREFIX}paused")
    assert take_one(broker).lease.task_id == "a"


def test_ids_without_a_task_are_dropped_and_counted(broker: Broker, db: redis.Redis) -> None:
    db.lpush(f"{PREFIX}pending", "ghost")
    seed(db, "a")
    taken = take(broker)
    assert ([t.lease.task_id for t in taken.tasks], taken.strays) == (["a"], 1)
    assert db.lrange(f"{PREFIX}active", 0, -1) == [b"a"]


def test_a_list_full_of_ids_without_a_task_is_cleared_in_portions(broker: Broker, db: redis.Redis) -> None:
    db.lpush(f"{PREFIX}pending", *(f"ghost{n}" for n in range(2_500)))
    seed(db, "a")
    takes = [take(broker) for _ in range(3)]
    assert [taken.strays for taken in takes] == [1_000, 1_000, 500]
    assert [task.lease.task_id for task in takes[-1].tasks] == ["a"]
    assert db.lrange(f"{PREFIX}active", 0, -1) == [b"a"]


def test_a_second_entry_of_a_task_that_is_being_worked_on_is_dropped(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    take_one(broker)
    db.lpush(f"{PREFIX}pending", "a")
    assert take(broker).tasks == ()
    assert db.lrange(f"{PREFIX}active", 0, -1) == [b"a"]


def test_a_task_that_ended_is_not_run_again_by_a_stray_entry(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    broker.settle([POLICY.settle(take_one(broker), Succeeded(b"1"), 0)])
    db.lpush(f"{PREFIX}pending", "a")
    assert take(broker).tasks == ()
    assert asynq.where_is(db, QUEUE, "a") == "completed"


@pytest.mark.leaves_unreadable("messages decode", reason="the task is kept as it was sent")
def test_a_task_nobody_can_read_is_reported_with_its_fence_and_can_be_archived(
    broker: Broker, db: redis.Redis
) -> None:
    db.sadd(asynq.QUEUES, QUEUE)
    db.hset(f"{PREFIX}t:bad", mapping={"msg": b"\xff\xff", "state": "pending"})
    db.lpush(f"{PREFIX}pending", "bad")

    ((lease, reason),) = take(broker).broken
    assert broker.settle([POLICY.refuse(lease, reason)]) == (FenceReply.DONE,)

    assert asynq.where_is(db, QUEUE, "bad") == "archived"
    assert b"no valid protobuf" in hash_of(db, "bad")[b"error_msg"]
    assert hash_of(db, "bad")[b"msg"] == b"\xff\xff"


def test_a_legacy_hash_is_taken_and_completed(broker: Broker, db: redis.Redis) -> None:
    db.sadd(asynq.QUEUES, QUEUE)
    db.hset(f"{PREFIX}t:old", mapping={"type": "t", "payload": '{"a":1}', "max_retry": 2, "retry": 1})
    db.lpush(f"{PREFIX}pending", "old")
    task = take_one(broker)
    assert (task.payload, task.max_retry, task.retried, task.message) == (b'{"a":1}', 2, 1, None)
    assert broker.settle([POLICY.settle(task, Failed("x", retry=True), 0)]) == (FenceReply.DONE,)
    assert hash_of(db, "old")[b"retried"] == b"2"
    assert b"msg" not in hash_of(db, "old")


# activate ----------------------------------------------------------------------------------------


def test_an_id_moved_by_a_blocking_move_is_claimed(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    (task,) = broker.exchange([], [Ask(QUEUE, arrived=(b"a",))]).taken[0].tasks
    assert task.lease.number == "1"
    assert asynq.where_is(db, QUEUE, "a") == "active"


def test_an_id_that_was_returned_and_taken_by_another_is_not_claimed(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    assert other.reclaim(QUEUE, [b"a"]) == 1
    take_one(other)
    assert broker.exchange([], [Ask(QUEUE, arrived=(b"a",))]).taken[0].tasks == ()
    assert hash_of(db, "a")[b"owner"] == b"other"


def test_an_id_moved_from_a_queue_that_was_paused_meanwhile_goes_back(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a", "b")
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    db.set(f"{PREFIX}paused", "1")
    taken = broker.exchange([], [Ask(QUEUE, arrived=(b"a",))]).taken[0]
    assert (taken.paused, taken.tasks) == (True, ())
    assert db.lrange(f"{PREFIX}pending", 0, -1) == [b"b", b"a"]


# complete ----------------------------------------------------------------------------------------


def test_completing_stores_the_result_counts_and_sets_lifetimes(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.hset("asynq:t:a", "queue", QUEUE)
    task = take_one(broker)

    assert broker.settle([POLICY.settle(task, Succeeded(b'{"x":1}'), 0)]) == (FenceReply.DONE,)

    stored = hash_of(db, "a")
    assert asynq.where_is(db, QUEUE, "a") == "completed"
    assert (stored[b"state"], stored[b"result"]) == (b"completed", b'{"x":1}')
    assert abs(int(stored[b"completed_at"]) - time.time()) < 3
    assert 86_390 < db.ttl(f"{PREFIX}t:a") - OUTLIVES_S <= 86_400
    assert 86_390 < db.ttl("asynq:t:a") <= 86_400
    assert db.zscore(f"{PREFIX}completed", "a") > time.time() + 86_390
    assert db.zcard(f"{PREFIX}lease") == 0
    assert db.get(f"{PREFIX}processed") == db.get(f"{PREFIX}processed:{today()}") == b"1"
    assert 89 * 86_400 < db.ttl(f"{PREFIX}processed:{today()}") <= 90 * 86_400
    assert db.get(f"{PREFIX}failed") is None


def test_completing_stamps_the_message_and_keeps_every_field(broker: Broker, db: redis.Redis) -> None:
    fields = {"headers": {"trace": "1"}, "group_key": "g", "timeout": 30, "retention": 90, "completed_at": 5}
    seed(db, "a", **fields)
    before = wire.decode(hash_of(db, "a")[b"msg"])

    broker.settle([POLICY.settle(take_one(broker), Succeeded(b"1"), 0)])

    stored = hash_of(db, "a")
    stamped = {**before, "completed_at": int(stored[b"completed_at"])}
    assert wire.decode(stored[b"msg"]) == stamped


def test_without_result_storage_the_task_is_deleted_and_still_counted(
    channel: Channel, db: redis.Redis
) -> None:
    broker = Broker(channel, "me", 30, keep_results=False)
    seed(db, "a")
    db.hset("asynq:t:a", "queue", QUEUE)
    broker.settle([POLICY.settle(take_one(broker), Succeeded(b"1"), 0)])
    assert db.keys("*t:a") == []
    assert db.zcard(f"{PREFIX}completed") == 0
    assert db.get(f"{PREFIX}processed") == b"1"


def test_a_lifetime_of_zero_keeps_the_task_for_ever(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.hset(f"{PREFIX}t:a", "ttl_completed", "0")
    broker.settle([POLICY.settle(take_one(broker), Succeeded(b"1"), 0)])
    assert db.ttl(f"{PREFIX}t:a") == -1
    assert db.zscore(f"{PREFIX}completed", "a") > time.time() + 10 * 365 * 86_400


def test_completing_releases_the_unique_lock_if_it_still_is_this_tasks(
    broker: Broker, db: redis.Redis
) -> None:
    lock, foreign = f"{PREFIX}unique:t:abc", f"{PREFIX}unique:t:def"
    seed(db, "a", unique_key=lock)
    seed(db, "b", unique_key=foreign)
    db.set(lock, "a")
    db.set(foreign, "somebody else", ex=60)
    broker.settle([POLICY.settle(t, Succeeded(b"1"), 0) for t in take(broker, 2).tasks])
    assert db.get(lock) is None
    assert db.get(foreign) == b"somebody else"


# retry, archive, give back -----------------------------------------------------------------------


def test_a_retry_is_counted_in_hash_and_message_and_keeps_every_field(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a", headers={"trace": "1"}, group_key="g", timeout=30)
    sent = wire.decode(hash_of(db, "a")[b"msg"])
    task = take_one(broker)

    broker.settle([POLICY.settle(task, Failed("boom", retry=True), 1_700_000_000)])

    stored = hash_of(db, "a")
    assert asynq.where_is(db, QUEUE, "a") == "retry"
    assert (stored[b"state"], stored[b"retried"], stored[b"error_msg"]) == (b"retry", b"1", b"boom")
    assert wire.decode(stored[b"msg"]) == {
        **sent,
        "retried": 1,
        "error_msg": "boom",
        "last_failed_at": 1_700_000_000,
    }
    assert 9 < db.zscore(f"{PREFIX}retry", "a") - time.time() <= 11
    assert db.get(f"{PREFIX}failed") == db.get(f"{PREFIX}processed") == b"1"


def test_archiving_keeps_the_reason_and_the_purge_time(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a", retry=0)
    broker.settle([POLICY.settle(take_one(broker), Crashed("SIGKILL"), 0)])
    assert asynq.where_is(db, QUEUE, "a") == "archived"
    assert hash_of(db, "a")[b"error_msg"] == b"SIGKILL"
    assert 3 * 86_400 - 10 < db.zscore(f"{PREFIX}archived", "a") - time.time() <= 3 * 86_400 + 1
    assert db.get(f"{PREFIX}failed") == b"1"


def test_crashes_are_counted_in_the_hash_and_known_to_every_worker_that_takes_the_task(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a", retry=1)
    first = take_one(broker)
    broker.settle([POLICY.settle(first, Crashed("SIGSEGV"), 0)])
    assert (first.crashes, hash_of(db, "a")[b"crashes"]) == (0, b"1")

    db.zadd(f"{PREFIX}retry", {"a": 0})
    broker.forward([QUEUE])
    second = take_one(other)
    assert second.crashes == 1
    other.settle([POLICY.settle(second, Crashed("SIGSEGV"), 0)])

    assert asynq.where_is(db, QUEUE, "a") == "archived"
    assert hash_of(db, "a")[b"crashes"] == b"2"
    assert hash_of(db, "a")[b"error_msg"] == b"crashed the process 2 times; SIGSEGV"


def test_a_task_that_never_crashed_has_no_count(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    broker.settle([POLICY.settle(take_one(broker), Failed("boom", retry=True), 0)])
    assert b"crashes" not in hash_of(db, "a")


def test_returned_tasks_are_served_next_and_nothing_is_charged(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a", "b", "c")
    tasks = take(broker, 2).tasks
    broker.settle([POLICY.settle(task, Returned("stopping"), 0) for task in tasks])
    assert [t.lease.task_id for t in take(broker, 3).tasks] == ["a", "b", "c"]
    assert hash_of(db, "a").get(b"retried") is None
    assert db.get(f"{PREFIX}processed") is None


def test_settlements_of_every_kind_travel_together(broker: Broker, db: redis.Redis) -> None:
    outcomes = (Succeeded(b"1"), Failed("x", retry=True), Cancelled("y"), Returned("z"))

    def ends(tasks: Sequence[Task]) -> list[Settlement]:
        return [POLICY.settle(task, outcome, 0) for task, outcome in zip(tasks, outcomes, strict=True)]

    # given scripts that Redis knows: one that it does not know is sent again as source, after the take
    seed(db, "1", "2", "3", "4")
    broker.settle(ends(take(broker, 4).tasks))
    broker.settle([POLICY.settle(take_one(broker), Succeeded(b"1"), 0)])
    # when
    seed(db, "a", "b", "c", "d", "e")
    answer = broker.exchange(ends(take(broker, 4).tasks), [Ask(QUEUE, 2)])
    # then
    assert answer.replies == (FenceReply.DONE,) * 4
    assert [asynq.where_is(db, QUEUE, t) for t in "abcde"] == [
        "completed",
        "retry",
        "archived",
        "active",
        "active",
    ]
    assert [t.lease.task_id for t in answer.taken[0].tasks] == ["d", "e"]


# the fence ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [Succeeded(b"1"), Failed("x", retry=True), Failed("x", retry=False), Returned("r")],
    ids=["complete", "retry", "archive", "give back"],
)
def test_a_worker_that_lost_its_lease_cannot_settle_what_another_has(
    broker: Broker, other: Broker, db: redis.Redis, outcome: object
) -> None:
    seed(db, "a")
    late = take_one(other)
    recover(broker)
    db.zadd(f"{PREFIX}retry", {"a": 0})
    broker.forward([QUEUE])
    current = take_one(broker)

    assert other.settle([POLICY.settle(late, outcome, 0)]) == (FenceReply.LOST,)

    assert asynq.where_is(db, QUEUE, "a") == "active"
    assert broker.settle([POLICY.settle(current, Succeeded(b"2"), 0)]) == (FenceReply.DONE,)
    assert hash_of(db, "a")[b"result"] == b"2"


def test_settling_again_after_a_lost_reply_changes_nothing(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    done = POLICY.settle(take_one(broker), Succeeded(b"1"), 0)
    assert broker.settle([done]) == (FenceReply.DONE,)
    assert broker.settle([done]) == (FenceReply.SETTLED,)
    assert db.get(f"{PREFIX}processed") == b"1"


def test_a_task_deleted_while_it_ran_stays_deleted(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    task = take_one(broker)
    db.delete(f"{PREFIX}t:a")
    assert broker.settle([POLICY.settle(task, Failed("x", retry=True), 0)]) == (FenceReply.GONE,)
    assert db.exists(f"{PREFIX}t:a") == 0


def test_an_outcome_that_comes_after_recovery_is_lost_and_not_taken_for_accepted(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    late = take_one(other)
    recover(broker)

    assert other.settle([POLICY.settle(late, Succeeded(b"1"), 0)]) == (FenceReply.LOST,)

    assert asynq.where_is(db, QUEUE, "a") == "retry"


@pytest.mark.parametrize("keep_results", [True, False])
def test_a_refused_outcome_leaves_the_task_findable(
    channel: Channel, other: Broker, db: redis.Redis, keep_results: bool
) -> None:
    broker = Broker(channel, "late", -1, keep_results=keep_results)
    seed(db, "a")
    db.hset("asynq:t:a", "queue", QUEUE)
    late = take_one(broker)
    recover(other)

    assert broker.settle([POLICY.settle(late, Succeeded(b"1"), 0)]) == (FenceReply.LOST,)

    assert db.hgetall("asynq:t:a") == {b"queue": QUEUE.encode()}
    assert db.ttl("asynq:t:a") == -1


# entries that should not be -----------------------------------------------------------------------


def test_a_second_entry_of_a_task_that_waits_for_its_retry_is_dropped(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    broker.settle([POLICY.settle(take_one(broker), Failed("x", retry=True), 0)])
    db.lpush(f"{PREFIX}pending", "a")
    assert take(broker).tasks == ()
    assert asynq.where_is(db, QUEUE, "a") == "retry"


def test_a_task_made_anew_under_the_name_of_one_deleted_at_work_is_served(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    take_one(broker)
    db.delete(f"{PREFIX}t:a")
    seed(db, "a")

    task = take_one(other)

    assert other.settle([POLICY.settle(task, Succeeded(b"2"), 0)]) == (FenceReply.DONE,)
    assert asynq.where_is(db, QUEUE, "a") == "completed"
    assert db.zcard(f"{PREFIX}lease") == 0


def delete_task(db: redis.Redis) -> None:
    db.delete(f"{PREFIX}t:a")


def delete_queue_by_force(db: redis.Redis) -> None:
    """As asynq's tools do."""
    db.delete(f"{PREFIX}t:a", *(f"{PREFIX}{name}" for name in (*asynq.PLACES, "lease")))


@pytest.mark.parametrize("delete", [delete_task, delete_queue_by_force])
@pytest.mark.parametrize(
    "outcome",
    [Succeeded(b"1"), Failed("x", retry=True), Failed("x", retry=False), Returned("r")],
    ids=["complete", "retry", "archive", "give back"],
)
def test_a_run_whose_task_was_deleted_settles_no_new_task_of_that_id_even_if_its_worker_has_both(
    broker: Broker, db: redis.Redis, delete: Callable[[redis.Redis], None], outcome: Outcome
) -> None:
    # given a task deleted at work, and another of its id that the same worker takes
    seed(db, "a")
    old = take_one(broker)
    delete(db)
    seed(db, "a")
    new = take_one(broker)
    assert (old.lease.number, new.lease.number) == ("1", "1")
    assert not old.lease.is_same_task(new.lease)

    # when the old run ends, it does not count, and its lease holds nothing
    assert broker.settle([POLICY.settle(old, outcome, 0)]) == (FenceReply.LOST,)
    assert broker.extend([old.lease]) == {old.lease: FenceReply.LOST}
    assert asynq.where_is(db, QUEUE, "a") == "active"

    # then the new one's outcome is its result
    assert broker.settle([POLICY.settle(new, Succeeded(b"2"), 0)]) == (FenceReply.DONE,)
    assert hash_of(db, "a")[b"result"] == b"2"
    assert db.get(f"{PREFIX}processed") == b"1"


def test_a_task_that_is_run_again_is_the_same_task_and_its_first_attempt_is_over(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    first = take_one(broker)
    broker.settle([POLICY.settle(first, Returned("stopping"), 0)])
    second = take_one(broker)
    assert (second.lease.number, second.lease.is_same_task(first.lease)) == ("2", True)
    assert broker.settle([POLICY.settle(first, Succeeded(b"1"), 0)]) == (FenceReply.LOST,)


def test_a_task_taken_by_an_older_worker_of_ours_is_recovered_and_settled_by_its_own_fence(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a", "b")
    for task in take(broker, 2).tasks:
        db.hdel(f"{PREFIX}t:{task.lease.task_id}", "first_taken")
    kept = Lease(QUEUE, "a", "me", "1")  # as it stands in an older worker's state folder
    assert broker.settle([Return(kept, "stopping")]) == (FenceReply.DONE,)
    db.zadd(f"{PREFIX}lease", {"b": 1})
    assert [task.lease.attempt for task in recover(broker)] == ["1"]
    assert asynq.where_is(db, QUEUE, "b") == "retry"


def test_a_lease_left_by_a_deleted_task_does_not_take_the_new_one_of_its_name_along(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    take_one(other)
    db.delete(f"{PREFIX}t:a")
    db.lrem(f"{PREFIX}active", 1, "a")
    seed(db, "a")
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")

    assert recover(broker) == []

    assert broker.reclaim(QUEUE, broker.stranded(QUEUE)) == 1
    assert take_one(broker).lease.task_id == "a"


@pytest.mark.parametrize("paused", [False, True])
def test_a_moved_id_whose_task_was_deleted_leaves_nothing_behind(
    broker: Broker, db: redis.Redis, paused: bool
) -> None:
    db.lpush(f"{PREFIX}active", "ghost")
    if paused:
        db.set(f"{PREFIX}paused", "1")
    assert broker.exchange([], [Ask(QUEUE, arrived=(b"ghost",))]).taken[0].tasks == ()
    db.delete(f"{PREFIX}paused")
    assert db.keys("*") == []


@pytest.mark.leaves_unreadable(
    "a task is in one place", "active tasks have a lease", reason="the stray entry is for upkeep to take away"
)
def test_a_stray_entry_of_a_task_we_completed_is_not_reconciled_into_work(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    broker.settle([POLICY.settle(take_one(broker), Succeeded(b"1"), 0)])
    db.lpush(f"{PREFIX}active", "a")
    assert broker.reconcile(QUEUE, []) == []
    assert hash_of(db, "a")[b"state"] == b"completed"


def run_again(db: redis.Redis, task_id: str) -> None:
    """As asynq does it with an archived task, which leaves the hash's lifetime."""
    db.zrem(f"{PREFIX}archived", task_id)
    db.hset(f"{PREFIX}t:{task_id}", "state", "pending")
    db.lpush(f"{PREFIX}pending", task_id)


def test_an_archived_task_that_is_run_again_outlives_the_lifetime_it_had(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    broker.settle([POLICY.settle(take_one(broker), Cancelled("x"), 0)])
    assert db.ttl(f"{PREFIX}t:a") > 0
    run_again(db, "a")

    take_one(broker)

    assert db.ttl(f"{PREFIX}t:a") == -1


def test_a_task_that_never_ran_and_was_archived_by_hand_outlives_the_lifetime_that_upkeep_gave_it(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    db.lrem(f"{PREFIX}pending", 1, "a")
    db.hset(f"{PREFIX}t:a", "state", "archived")
    db.zadd(f"{PREFIX}archived", {"a": int(time.time())})
    broker.purge(QUEUE, 60)
    assert db.ttl(f"{PREFIX}t:a") > 0
    run_again(db, "a")

    take_one(broker)

    assert db.ttl(f"{PREFIX}t:a") == -1


# fields nobody can count with ---------------------------------------------------------------------


@pytest.mark.leaves_unreadable("numbers are whole", reason="the stamp is left as it was sent")
@pytest.mark.parametrize("stamp", ["nan", "inf", "soon"])
def test_a_stamp_that_is_no_number_is_the_tasks_own_trouble(
    broker: Broker, db: redis.Redis, stamp: str
) -> None:
    seed(db, "a", "b")
    db.hset(f"{PREFIX}t:a", "ttl_completed", stamp)
    taken = take(broker, 2)
    ((lease, reason),) = taken.broken
    assert "ttl_completed" in reason
    assert broker.settle([POLICY.refuse(lease, reason)]) == (FenceReply.DONE,)
    assert [task.lease.task_id for task in taken.tasks] == ["b"]


@pytest.mark.parametrize("outcome", [Succeeded(b"1"), Cancelled("x")], ids=["complete", "archive"])
def test_a_lifetime_beyond_redis_calendar_is_for_ever(
    broker: Broker, db: redis.Redis, outcome: object
) -> None:
    seed(db, "a", retention=2**62)
    db.hset(f"{PREFIX}t:a", "ttl_archived", 10**18)
    db.hset("asynq:t:a", "queue", QUEUE)
    assert broker.settle([POLICY.settle(take_one(broker), outcome, 0)]) == (FenceReply.DONE,)
    assert (db.ttl(f"{PREFIX}t:a"), db.ttl("asynq:t:a")) == (-1, -1)


@pytest.mark.leaves_unreadable("hash and message agree", reason="a message has no room for the count")
def test_a_count_of_retries_that_fits_no_message_ends_in_the_archive(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.hset(f"{PREFIX}t:a", "retried", "99999999999")
    assert broker.settle([POLICY.settle(take_one(broker), Failed("x", retry=True), 0)]) == (FenceReply.DONE,)
    assert asynq.where_is(db, QUEUE, "a") == "archived"


# leases ------------------------------------------------------------------------------------------


def test_extending_moves_the_expiry_only_for_tasks_that_are_still_ours(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a", "b")
    mine, lost = take_one(broker), take_one(other)
    recover(broker)
    db.zadd(f"{PREFIX}lease", {"a": time.time() + 1})

    assert broker.extend([mine.lease]) == {mine.lease: FenceReply.DONE}
    assert other.extend([lost.lease]) == {lost.lease: FenceReply.LOST}

    assert db.zscore(f"{PREFIX}lease", "a") > time.time() + 25
    assert db.zscore(f"{PREFIX}lease", "b") is None


def recover(broker: Broker) -> list[Task]:
    expired = broker.lapsed(QUEUE).tasks
    broker.settle_lapsed([POLICY.settle(task, Crashed("worker died"), 0) for task in expired])
    return list(expired)


def test_a_task_whose_lease_ran_out_is_recovered_and_charged(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    take_one(other)
    assert [t.lease.owner for t in recover(broker)] == ["other"]
    assert asynq.where_is(db, QUEUE, "a") == "retry"
    assert hash_of(db, "a")[b"retried"] == b"1"


def test_a_lease_that_still_runs_is_not_recovered(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    task = take_one(broker)
    assert recover(broker) == []
    assert broker.settle_lapsed([POLICY.settle(task, Crashed("x"), 0)]) == (FenceReply.LOST,)
    assert asynq.where_is(db, QUEUE, "a") == "active"


def test_a_task_taken_by_a_worker_without_fencing_is_recovered_too(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    db.hset(f"{PREFIX}t:a", "state", "active")
    db.zadd(f"{PREFIX}lease", {"a": time.time() - 1})
    assert len(recover(broker)) == 1
    assert asynq.where_is(db, QUEUE, "a") == "retry"


# upkeep ------------------------------------------------------------------------------------------


def test_due_tasks_are_forwarded_behind_what_waits_and_the_next_due_time_is_known(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "first", "due", "retry", "later")
    db.lrem(f"{PREFIX}pending", 1, "due")
    db.lrem(f"{PREFIX}pending", 1, "retry")
    db.lrem(f"{PREFIX}pending", 1, "later")
    now = int(time.time())
    db.zadd(f"{PREFIX}scheduled", {"due": now - 1, "later": now + 5})
    db.zadd(f"{PREFIX}retry", {"retry": now - 1})
    db.hset(f"{PREFIX}t:later", "state", "scheduled")

    found = broker.forward([QUEUE]).found[QUEUE]

    assert found.moved == 2
    assert found.next_due_in_s is not None
    assert 4 < found.next_due_in_s <= 6
    assert [t.lease.task_id for t in take(broker, 9).tasks] == ["first", "due", "retry"]


def test_an_entry_whose_task_is_gone_is_not_forwarded(broker: Broker, db: redis.Redis) -> None:
    db.zadd(f"{PREFIX}retry", {"ghost": 1})
    assert broker.forward([QUEUE]).found[QUEUE].moved == 0
    assert db.keys("*") == []


@pytest.mark.leaves_unreadable(
    "the state is the place", "active tasks have a lease", reason="an id has arrived and is not claimed yet"
)
def test_forwarding_says_whether_leases_ran_out_and_whether_ids_have_none(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a", "b")
    take_one(other)
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    found = broker.forward([QUEUE]).found[QUEUE]
    assert (found.lapsed, found.stranded) == (1, 1)


def test_an_id_without_a_lease_is_returned_uncharged(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    assert broker.stranded(QUEUE) == {b"a"}
    assert broker.reclaim(QUEUE, [b"a"]) == 1
    assert asynq.where_is(db, QUEUE, "a") == "pending"


def test_an_id_that_was_claimed_meanwhile_is_not_returned(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    take_one(broker)
    assert broker.reclaim(QUEUE, [b"a"]) == 0
    assert asynq.where_is(db, QUEUE, "a") == "active"


def test_tasks_that_are_ours_but_unknown_to_us_are_returned(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "known", "unknown", "others")
    take(broker, 2)
    take(other)
    assert broker.reconcile(QUEUE, ["known"]) == ["unknown"]
    assert [asynq.where_is(db, QUEUE, t) for t in ("known", "unknown", "others")] == [
        "active",
        "pending",
        "active",
    ]


def test_purging_deletes_what_is_due_with_its_lookup_and_leaves_the_rest(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "old", "young", "dead")
    for task, outcome in zip(
        take(broker, 3).tasks, (Succeeded(b"1"), Succeeded(b"2"), Cancelled("x")), strict=True
    ):
        db.hset(f"asynq:t:{task.lease.task_id}", "queue", QUEUE)
        broker.settle([POLICY.settle(task, outcome, 0)])
    grow_old(db, "completed", "old")
    grow_old(db, "archived", "dead")

    assert broker.purge(QUEUE, 60) == 2

    assert sorted(db.keys("*t:*")) == [b"asynq:t:young", f"{PREFIX}t:young".encode()]


def test_a_purge_entry_left_behind_does_not_take_a_running_task_with_it(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    db.zadd(f"{PREFIX}archived", {"a": 1})
    broker.purge(QUEUE, 60)
    assert db.zcard(f"{PREFIX}archived") == 0
    assert take_one(broker).lease.task_id == "a"


@pytest.mark.parametrize("lifetime", ["none", "left over"])
@pytest.mark.parametrize(("stamps", "kept_s"), [({}, 60), ({"ttl_archived": 7}, 7)], ids=["setting", "stamp"])
def test_a_task_archived_by_hand_is_kept_for_its_lifetime_and_then_purged(
    broker: Broker, db: redis.Redis, lifetime: str, stamps: dict[str, int], kept_s: int
) -> None:
    # given a task that somebody archives in the dashboard, which scores it with the time of that
    seed(db, "a")
    db.hset("asynq:t:a", "queue", QUEUE)
    if lifetime == "left over":
        db.expire(f"{PREFIX}t:a", 1_000)  # it had been archived and run again before
    db.lrem(f"{PREFIX}pending", 1, "a")
    db.hset(f"{PREFIX}t:a", mapping={"state": "archived", **stamps})
    db.zadd(f"{PREFIX}archived", {"a": int(time.time())})

    # when upkeep comes by, then it is kept, and so is its lookup
    broker.purge(QUEUE, 60)
    assert asynq.where_is(db, QUEUE, "a") == "archived"
    assert kept_s - 2 <= db.ttl(f"{PREFIX}t:a") - OUTLIVES_S <= kept_s
    assert kept_s - 2 <= db.ttl("asynq:t:a") <= kept_s
    assert kept_s - 2 <= db.zscore(f"{PREFIX}archived", "a") - time.time() <= kept_s + 1

    # and when that is over it goes
    grow_old(db, "archived", "a")
    broker.purge(QUEUE, 60)
    assert db.keys("*t:a") == []
    assert asynq.where_is(db, QUEUE, "a") == "nowhere"


def test_a_task_archived_by_hand_is_kept_for_ever_where_archived_tasks_are(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    db.lrem(f"{PREFIX}pending", 1, "a")
    db.hset(f"{PREFIX}t:a", "state", "archived")
    db.zadd(f"{PREFIX}archived", {"a": int(time.time())})
    for _ in range(2):
        broker.purge(QUEUE, 0)
    assert db.ttl(f"{PREFIX}t:a") == -1
    assert db.zscore(f"{PREFIX}archived", "a") > time.time() + 1e9


def test_nothing_scheduled_is_forwarded_before_the_second_it_was_cut_to_is_over(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "cut", "over")
    now, part = db.time()
    if part > 500_000:
        time.sleep(1 - part / 1e6)
        now += 1
    for task_id, due in (("cut", now), ("over", now - 1)):
        db.lrem(f"{PREFIX}pending", 1, task_id)
        db.hset(f"{PREFIX}t:{task_id}", "state", "scheduled")
        db.zadd(f"{PREFIX}scheduled", {task_id: due})

    found = broker.forward([QUEUE]).found[QUEUE]

    assert [asynq.where_is(db, QUEUE, task_id) for task_id in ("cut", "over")] == ["scheduled", "pending"]
    assert found.next_due_in_s is not None
    assert 0 < found.next_due_in_s <= 1


# counters -----------------------------------------------------------------------------------------


def test_the_day_of_the_counters_is_right_on_every_day_of_four_centuries(
    channel: Channel, db: redis.Redis
) -> None:
    from appliance.queue.scripts import TAKE

    calendar = TAKE.source[TAKE.source.index("local function today") : TAKE.source.index("-- Counts n more")]
    script = "local time = {ARGV[1]}\n" + calendar + "return today()"
    days = range(0, 146_097 + 1, 37)
    replies = channel.batch([("EVAL", script, 1, PREFIX, day * 86_400) for day in days])
    epoch = __import__("datetime").date(1970, 1, 1)
    delta = __import__("datetime").timedelta
    assert [reply.decode() for reply in replies] == [(epoch + delta(days=day)).isoformat() for day in days]
