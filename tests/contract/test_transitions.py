"""Every transition of a task, on a real Redis: where it is afterwards and what its hash says.

All of it twice, the second time on a cluster of three nodes, where a script may touch the keys of one slot
only, and reverse lookups are elsewhere.
"""

import time

import pytest
import redis

from appliance.process.work import Cancelled, Died, Failed, Returned, Succeeded
from appliance.queue.broker import Ask, Broker, Taken, Verdict
from appliance.queue.connection import Channel
from appliance.queue.message import Task
from harness import asynq, wire
from harness.cluster import RedisCluster
from harness.redis import RedisServer
from tests.contract import conftest
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed


@pytest.fixture(params=["one Redis", "cluster"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RedisServer | RedisCluster:
    if request.param == "one Redis":
        return request.getfixturevalue("single")
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


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


# take --------------------------------------------------------------------------------------------


def test_a_take_serves_the_oldest_first_and_stamps_owner_attempt_and_lease(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "old", "new")
    before = time.time()

    task = take_one(broker)

    assert (task.lease.task_id, task.lease.owner, task.lease.attempt) == ("old", "me", "1")
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


def test_a_task_nobody_can_read_is_reported_with_its_fence_and_can_be_archived(
    broker: Broker, db: redis.Redis
) -> None:
    db.hset(f"{PREFIX}t:bad", mapping={"msg": b"\xff\xff", "state": "pending"})
    db.lpush(f"{PREFIX}pending", "bad")

    ((lease, reason),) = take(broker).broken
    assert broker.settle([POLICY.refuse(lease, reason)]) == (Verdict.DONE,)

    assert asynq.where_is(db, QUEUE, "bad") == "archived"
    assert b"no valid protobuf" in hash_of(db, "bad")[b"error_msg"]
    assert hash_of(db, "bad")[b"msg"] == b"\xff\xff"


def test_a_legacy_hash_is_taken_and_completed(broker: Broker, db: redis.Redis) -> None:
    db.hset(f"{PREFIX}t:old", mapping={"type": "t", "payload": '{"a":1}', "max_retry": 2, "retry": 1})
    db.lpush(f"{PREFIX}pending", "old")
    task = take_one(broker)
    assert (task.payload, task.max_retry, task.retried, task.message) == (b'{"a":1}', 2, 1, None)
    assert broker.settle([POLICY.settle(task, Failed("x", retry=True), 0)]) == (Verdict.DONE,)
    assert hash_of(db, "old")[b"retried"] == b"2"
    assert b"msg" not in hash_of(db, "old")


# activate ----------------------------------------------------------------------------------------


def test_an_id_moved_by_a_blocking_move_is_claimed(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    (task,) = broker.exchange([], [Ask(QUEUE, arrived=(b"a",))]).taken[0].tasks
    assert task.lease.attempt == "1"
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

    assert broker.settle([POLICY.settle(task, Succeeded(b'{"x":1}'), 0)]) == (Verdict.DONE,)

    stored = hash_of(db, "a")
    assert asynq.where_is(db, QUEUE, "a") == "completed"
    assert (stored[b"state"], stored[b"result"]) == (b"completed", b'{"x":1}')
    assert abs(int(stored[b"completed_at"]) - time.time()) < 3
    assert 86_390 < db.ttl(f"{PREFIX}t:a") <= 86_400
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
    db.set(foreign, "somebody else")
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
    assert 8 < db.zscore(f"{PREFIX}retry", "a") - time.time() <= 10.1
    assert db.get(f"{PREFIX}failed") == db.get(f"{PREFIX}processed") == b"1"


def test_archiving_keeps_the_reason_and_the_purge_time(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a", retry=0)
    broker.settle([POLICY.settle(take_one(broker), Died("SIGKILL"), 0)])
    assert asynq.where_is(db, QUEUE, "a") == "archived"
    assert hash_of(db, "a")[b"error_msg"] == b"SIGKILL"
    assert 3 * 86_400 - 10 < db.zscore(f"{PREFIX}archived", "a") - time.time() <= 3 * 86_400 + 1
    assert db.get(f"{PREFIX}failed") == b"1"


def test_given_back_tasks_are_served_next_and_nothing_is_charged(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a", "b", "c")
    tasks = take(broker, 2).tasks
    broker.settle([POLICY.settle(task, Returned("stopping"), 0) for task in reversed(tasks)])
    assert [t.lease.task_id for t in take(broker, 3).tasks] == ["a", "b", "c"]
    assert hash_of(db, "a").get(b"retried") is None
    assert db.get(f"{PREFIX}processed") is None


def test_settlements_of_every_kind_travel_together(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a", "b", "c", "d", "e")
    a, b, c, d = take(broker, 4).tasks
    answer = broker.exchange(
        [
            POLICY.settle(a, Succeeded(b"1"), 0),
            POLICY.settle(b, Failed("x", retry=True), 0),
            POLICY.settle(c, Cancelled("y"), 0),
            POLICY.settle(d, Returned("z"), 0),
        ],
        [Ask(QUEUE, 2)],
    )
    assert answer.verdicts == (Verdict.DONE,) * 4
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
    broker.forward(QUEUE)
    current = take_one(broker)

    assert other.settle([POLICY.settle(late, outcome, 0)]) == (Verdict.LOST,)

    assert asynq.where_is(db, QUEUE, "a") == "active"
    assert broker.settle([POLICY.settle(current, Succeeded(b"2"), 0)]) == (Verdict.DONE,)
    assert hash_of(db, "a")[b"result"] == b"2"


def test_settling_again_after_a_lost_reply_changes_nothing(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    done = POLICY.settle(take_one(broker), Succeeded(b"1"), 0)
    assert broker.settle([done]) == (Verdict.DONE,)
    assert broker.settle([done]) == (Verdict.SETTLED,)
    assert db.get(f"{PREFIX}processed") == b"1"


def test_a_task_deleted_while_it_ran_stays_deleted(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    task = take_one(broker)
    db.delete(f"{PREFIX}t:a")
    assert broker.settle([POLICY.settle(task, Failed("x", retry=True), 0)]) == (Verdict.GONE,)
    assert db.exists(f"{PREFIX}t:a") == 0


def test_an_outcome_that_comes_after_recovery_is_lost_and_not_taken_for_accepted(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    late = take_one(other)
    recover(broker)

    assert other.settle([POLICY.settle(late, Succeeded(b"1"), 0)]) == (Verdict.LOST,)

    assert asynq.where_is(db, QUEUE, "a") == "retry"


@pytest.mark.parametrize("keep_results", [True, False])
def test_a_refused_outcome_leaves_the_task_findable(
    channel: Channel, other: Broker, db: redis.Redis, keep_results: bool
) -> None:
    broker = Broker(channel, "late", 0.001, keep_results=keep_results)
    seed(db, "a")
    db.hset("asynq:t:a", "queue", QUEUE)
    late = take_one(broker)
    recover(other)

    assert broker.settle([POLICY.settle(late, Succeeded(b"1"), 0)]) == (Verdict.LOST,)

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

    assert other.settle([POLICY.settle(task, Succeeded(b"2"), 0)]) == (Verdict.DONE,)
    assert asynq.where_is(db, QUEUE, "a") == "completed"
    assert db.zcard(f"{PREFIX}lease") == 0


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


def test_a_stray_entry_of_a_task_we_completed_is_not_reconciled_into_work(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    broker.settle([POLICY.settle(take_one(broker), Succeeded(b"1"), 0)])
    db.lpush(f"{PREFIX}active", "a")
    assert broker.reconcile(QUEUE, []) == []
    assert hash_of(db, "a")[b"state"] == b"completed"


def test_an_archived_task_that_is_run_again_outlives_the_lifetime_it_had(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    broker.settle([POLICY.settle(take_one(broker), Cancelled("x"), 0)])
    assert db.ttl(f"{PREFIX}t:a") > 0
    db.zrem(f"{PREFIX}archived", "a")
    db.hset(f"{PREFIX}t:a", "state", "pending")
    db.lpush(f"{PREFIX}pending", "a")

    take_one(broker)

    assert db.ttl(f"{PREFIX}t:a") == -1


# fields nobody can count with ---------------------------------------------------------------------


@pytest.mark.parametrize("stamp", ["nan", "inf", "soon"])
def test_a_stamp_that_is_no_number_is_the_tasks_own_trouble(
    broker: Broker, db: redis.Redis, stamp: str
) -> None:
    seed(db, "a", "b")
    db.hset(f"{PREFIX}t:a", "ttl_completed", stamp)
    taken = take(broker, 2)
    ((lease, reason),) = taken.broken
    assert "ttl_completed" in reason
    assert broker.settle([POLICY.refuse(lease, reason)]) == (Verdict.DONE,)
    assert [task.lease.task_id for task in taken.tasks] == ["b"]


@pytest.mark.parametrize("outcome", [Succeeded(b"1"), Cancelled("x")], ids=["complete", "archive"])
def test_a_lifetime_beyond_redis_calendar_is_for_ever(
    broker: Broker, db: redis.Redis, outcome: object
) -> None:
    seed(db, "a", retention=2**62)
    db.hset(f"{PREFIX}t:a", "ttl_archived", "1e18")
    db.hset("asynq:t:a", "queue", QUEUE)
    assert broker.settle([POLICY.settle(take_one(broker), outcome, 0)]) == (Verdict.DONE,)
    assert (db.ttl(f"{PREFIX}t:a"), db.ttl("asynq:t:a")) == (-1, -1)


def test_a_count_of_retries_that_fits_no_message_ends_in_the_archive(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    db.hset(f"{PREFIX}t:a", "retried", "99999999999")
    assert broker.settle([POLICY.settle(take_one(broker), Failed("x", retry=True), 0)]) == (Verdict.DONE,)
    assert asynq.where_is(db, QUEUE, "a") == "archived"


# leases ------------------------------------------------------------------------------------------


def test_extending_moves_the_expiry_only_for_tasks_that_are_still_ours(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a", "b")
    mine, lost = take_one(broker), take_one(other)
    recover(broker)
    db.zadd(f"{PREFIX}lease", {"a": time.time() + 1})

    assert broker.extend([mine.lease]) == {mine.lease: Verdict.DONE}
    assert other.extend([lost.lease]) == {lost.lease: Verdict.LOST}

    assert db.zscore(f"{PREFIX}lease", "a") > time.time() + 25
    assert db.zscore(f"{PREFIX}lease", "b") is None


def recover(broker: Broker) -> list[Task]:
    time.sleep(0.002)  # the other worker's lease is a millisecond
    expired = broker.expired(QUEUE).tasks
    broker.settle_expired([POLICY.settle(task, Died("worker died"), 0) for task in expired])
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
    assert broker.settle_expired([POLICY.settle(task, Died("x"), 0)]) == (Verdict.LOST,)
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
    db.zadd(f"{PREFIX}scheduled", {"due": time.time() - 1, "later": time.time() + 5})
    db.zadd(f"{PREFIX}retry", {"retry": time.time() - 1})

    found = broker.forward(QUEUE)

    assert found.moved == 2
    assert found.next_due_in_s is not None
    assert 3 < found.next_due_in_s <= 5
    assert [t.lease.task_id for t in take(broker, 9).tasks] == ["first", "due", "retry"]


def test_an_entry_whose_task_is_gone_is_not_forwarded(broker: Broker, db: redis.Redis) -> None:
    db.zadd(f"{PREFIX}retry", {"ghost": 1})
    assert broker.forward(QUEUE).moved == 0
    assert db.keys("*") == []


def test_forwarding_says_whether_leases_ran_out_and_whether_ids_have_none(
    broker: Broker, other: Broker, db: redis.Redis
) -> None:
    seed(db, "a", "b")
    take_one(other)
    db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    time.sleep(0.002)
    found = broker.forward(QUEUE)
    assert (found.expired, found.stranded) == (1, 1)


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
        broker.settle([POLICY.settle(task, outcome, 0)])
        db.hset(f"asynq:t:{task.lease.task_id}", "queue", QUEUE)
    db.zadd(f"{PREFIX}completed", {"old": time.time() - 1})
    db.zadd(f"{PREFIX}archived", {"dead": time.time() - 1})

    assert broker.purge(QUEUE) == 2

    assert sorted(db.keys("*t:*")) == [b"asynq:t:young", f"{PREFIX}t:young".encode()]


def test_a_purge_entry_left_behind_does_not_take_a_running_task_with_it(
    broker: Broker, db: redis.Redis
) -> None:
    seed(db, "a")
    db.zadd(f"{PREFIX}archived", {"a": time.time() - 1})
    assert broker.purge(QUEUE) == 0
    assert take_one(broker).lease.task_id == "a"


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
