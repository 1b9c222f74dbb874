"""A Redis that refuses some of what it is asked: permissions, keys of the wrong type, no memory left."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueRejected, QueueUnavailable
from appliance.loops.eviction import Eviction
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from appliance.queue.place import RedisPlace
from appliance.queue.replies import Ask, FenceReply
from appliance.queue.settlement import Archive, Complete, Return
from appliance.queue.waiter import Waiter
from harness.queue import asynq
from harness.sandbox.redis import RedisServer
from tests.contract.conftest import PREFIX, QUEUE, endpoint_of, seed

LOW = "inference.low"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One of its own, since its permissions and limits are changed."""
    with RedisServer(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def db(server: RedisServer) -> Iterator[redis.Redis]:
    with closing(server.client()) as client:
        # Connected before permissions are taken away, and with a user of its own.
        client.execute_command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
        client.execute_command("AUTH", "admin", "admin")
        yield client


@pytest.fixture
def endpoint(server: RedisServer) -> RedisEndpoint:
    return endpoint_of(server)


def allow(server: RedisServer, *rules: str) -> None:
    """Change what the worker's user may do."""
    with closing(server.client()) as client:
        client.execute_command("ACL", "SETUSER", "default", *rules)


def broker(endpoint: RedisEndpoint) -> Broker:
    return Broker(Channel(endpoint, "me"), "me", 30, keep_results=True)


def test_a_result_is_written_where_reverse_lookups_may_not_be(
    server: RedisServer, db: redis.Redis, endpoint: RedisEndpoint
) -> None:
    seed(db, "a")
    allow(server, "resetkeys", "~asynq:{*")
    ours = broker(endpoint)
    (taken,) = ours.exchange((), (Ask(QUEUE, 1),)).taken
    assert taken is not None
    (task,) = taken.tasks

    answer = ours.exchange((Complete(task.lease, b"1", 60, ""),), ())

    assert answer.replies == (FenceReply.DONE,)
    assert answer.failure is None


@pytest.mark.leaves_unreadable("keys are of their type", reason="that is what it is about")
def test_a_queue_with_a_key_of_the_wrong_type_does_not_keep_the_others_from_being_served(
    db: redis.Redis, endpoint: RedisEndpoint
) -> None:
    db.set(f"{PREFIX}pending", "not a list")
    seed(db, "a", queue=LOW)

    answer = broker(endpoint).exchange((), (Ask(QUEUE, 1), Ask(LOW, 1)))

    refused, served = answer.taken
    assert refused is None
    assert isinstance(answer.failure, QueueRejected)
    assert served is not None
    assert [task.lease.task_id for task in served.tasks] == ["a"]


@pytest.mark.leaves_unreadable(
    "the state is the place", "active tasks have a lease", reason="the id has arrived and is not claimed yet"
)
@pytest.mark.parametrize("rule", ["-client", "-@dangerous", "-@admin"])
def test_a_user_who_may_not_use_client_can_wait_and_be_woken(
    server: RedisServer, db: redis.Redis, endpoint: RedisEndpoint, rule: str
) -> None:
    allow(server, rule)
    seed(db, "a")
    control = Channel(endpoint, "control")
    waiter = Waiter(RedisPlace(endpoint), QUEUE, "watch", control)

    assert waiter.wait() == b"a"

    waiter.close()


def test_leases_are_prolonged_while_redis_has_no_memory_left(
    db: redis.Redis, endpoint: RedisEndpoint
) -> None:
    seed(db, "a")
    ours = broker(endpoint)
    (taken,) = ours.exchange((), (Ask(QUEUE, 1),)).taken
    assert taken is not None
    (task,) = taken.tasks
    db.zadd(f"{PREFIX}lease", {"a": 1})
    db.config_set("maxmemory", 1)

    verdicts = ours.extend([task.lease])

    db.config_set("maxmemory", 0)
    assert verdicts == {task.lease: FenceReply.DONE}
    assert asynq.where_is(db, QUEUE, "a") == "active"
    assert db.zscore(f"{PREFIX}lease", "a") > 1


def test_a_full_redis_is_purged_where_a_task_was_archived_by_hand(
    db: redis.Redis, endpoint: RedisEndpoint
) -> None:
    ours = broker(endpoint)
    seed(db, "by hand", "over")
    tasks = ours.exchange([], [Ask(QUEUE, 2)]).taken[0].tasks
    ours.settle([Archive(task.lease, 60, "failed", b"") for task in tasks])
    db.persist(asynq.task_key(QUEUE, "by hand"))
    for task_id in ("by hand", "over"):
        db.zadd(f"{PREFIX}archived", {task_id: 1})
    db.expire(asynq.task_key(QUEUE, "over"), 100)
    db.config_set("maxmemory", 1)

    with suppress(QueueUnavailable):  # the lookup of what is kept cannot be written now
        ours.purge(QUEUE, 60)

    assert db.zrange(f"{PREFIX}archived", 0, -1) == [b"by hand"]
    assert db.exists(asynq.task_key(QUEUE, "over")) == 0


def test_what_a_server_stamped_on_a_deleted_task_goes_where_redis_is_full(
    db: redis.Redis, endpoint: RedisEndpoint
) -> None:
    ours = Broker(Channel(endpoint, "me"), "me", 30, keep_results=False)
    seed(db, "a")
    (task,) = ours.exchange([], [Ask(QUEUE, 1)]).taken[0].tasks
    ours.settle([Complete(task.lease, b"1", 60, "")])
    db.hset(asynq.task_key(QUEUE, "a"), "ttl_completed", 60)
    (entry,) = db.zrange(f"{PREFIX}ended_early", 0, -1)
    db.zadd(f"{PREFIX}ended_early", {entry: 1})
    db.config_set("maxmemory", 1)

    assert ours.look_again(QUEUE) == 1
    assert db.exists(asynq.task_key(QUEUE, "a")) == 0


@pytest.mark.parametrize("forbidden", ["hset", "zadd", "zrem", "rpush"])
@pytest.mark.parametrize("step", ["complete", "archive", "return"])
def test_a_step_that_permissions_forbid_in_part_is_not_begun(
    server: RedisServer, db: redis.Redis, endpoint: RedisEndpoint, step: str, forbidden: str
) -> None:
    if int(db.info("server")["redis_version"].split(".")[0]) < 7:
        pytest.skip("Redis cannot be asked before version 7")
    seed(db, "a")
    worker = broker(endpoint)
    (task,) = worker.exchange([], [Ask(QUEUE, 1)]).taken[0].tasks  # type: ignore[union-attr]
    settlement = {
        "complete": Complete(task.lease, b"1", 60, ""),
        "archive": Archive(task.lease, 60, "why", b""),
        "return": Return(task.lease, "stopping"),
    }[step]
    place = {"complete": "completed", "archive": "archived", "return": "pending"}[step]
    allow(server, f"-{forbidden}")

    failure = worker.exchange([settlement], []).failure

    if failure is None:
        assert asynq.where_is(db, QUEUE, "a") == place  # it does without
        return
    assert not worker.refused(failure)  # no fault of the outcome's
    assert asynq.where_is(db, QUEUE, "a") == "active"
    assert db.zscore(f"{PREFIX}lease", "a")
    allow(server, f"+{forbidden}")
    assert worker.settle([settlement]) == (FenceReply.DONE,)
    assert asynq.where_is(db, QUEUE, "a") == place


def test_a_redis_that_evicts_keys_is_warned_of_when_that_changes(
    server: RedisServer, db: redis.Redis, endpoint: RedisEndpoint
) -> None:
    eviction = Eviction("inference", Channel(endpoint, "me"))
    said = []

    def look() -> int:
        with capture_logs() as events:
            eviction.tick()
        said.extend(event["policy"] for event in events)
        return len(events)

    db.config_set("maxmemory-policy", "allkeys-lru")
    assert look() == 0  # without a limit it evicts nothing
    db.config_set("maxmemory", "100mb")
    assert [look(), look()] == [1, 0]
    db.config_set("maxmemory-policy", "volatile-ttl")
    assert look() == 1
    db.config_set("maxmemory-policy", "noeviction")
    assert look() == 0
    assert said == ["allkeys-lru", "volatile-ttl"]

    allow(server, "-info")
    db.config_set("maxmemory-policy", "allkeys-lru")
    assert look() == 0


@pytest.mark.parametrize("forbidden", ["lpush", "ltrim", "zadd", "hset", "hdel"])
@pytest.mark.parametrize("how", ["take", "claim"])
def test_a_take_that_permissions_forbid_in_part_is_not_begun(
    server: RedisServer, db: redis.Redis, endpoint: RedisEndpoint, how: str, forbidden: str
) -> None:
    if int(db.info("server")["redis_version"].split(".")[0]) < 7:
        pytest.skip("Redis cannot be asked before version 7")
    seed(db, "a")
    if how == "claim":
        db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    ask = Ask(QUEUE, 1) if how == "take" else Ask(QUEUE, arrived=(b"a",))
    allow(server, f"-{forbidden}")

    answer = broker(endpoint).exchange([], [ask])

    places = asynq.get_pending(db, QUEUE) + asynq.get_active(db, QUEUE)
    assert places == ["a"]
    if answer.taken[0] is None:
        assert asynq.get_leases(db, QUEUE) == {}
        assert asynq.get_state(db, QUEUE, "a") == "pending"
        allow(server, f"+{forbidden}")
        (taken,) = broker(endpoint).exchange([], [ask]).taken
        assert taken is not None
        assert [task.lease.task_id for task in taken.tasks] == ["a"]


@pytest.mark.parametrize("forbidden", ["ltrim", "rpush", "lrem", "expire", "hset", "zadd"])
def test_completing_many_that_permissions_forbid_in_part_leaves_all_where_they_are(
    server: RedisServer, db: redis.Redis, endpoint: RedisEndpoint, forbidden: str
) -> None:
    if int(db.info("server")["redis_version"].split(".")[0]) < 7:
        pytest.skip("Redis cannot be asked before version 7")
    seed(db, "a", "b", "c", "d")
    worker = broker(endpoint)
    tasks = worker.exchange([], [Ask(QUEUE, 4)]).taken[0].tasks  # type: ignore[union-attr]
    settlements = [Complete(task.lease, b"1", 60, "") for task in (tasks[0], tasks[2])]
    allow(server, f"-{forbidden}")

    failure = worker.exchange(settlements, []).failure

    allow(server, f"+{forbidden}")
    if failure is not None:
        assert sorted(asynq.get_active(db, QUEUE)) == ["a", "b", "c", "d"]
        assert set(asynq.get_leases(db, QUEUE)) == {"a", "b", "c", "d"}
        worker.settle(settlements)
    assert set(asynq.get_completed(db, QUEUE)) == {"a", "c"}
    assert asynq.get_active(db, QUEUE) == ["d", "b"]
