"""A Redis that refuses some of what it is asked: permissions, keys of the wrong type, no memory left."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueRejected
from appliance.queue.broker import Ask, Broker, Verdict
from appliance.queue.connection import Channel
from appliance.queue.settlement import Complete
from appliance.queue.waiter import Waiter
from harness import asynq
from harness.redis import RedisServer
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

    assert answer.verdicts == (Verdict.DONE,)
    assert answer.failure is None


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


@pytest.mark.parametrize("rule", ["-client", "-@dangerous", "-@admin"])
def test_a_user_who_may_not_use_client_can_wait_and_be_woken(
    server: RedisServer, db: redis.Redis, endpoint: RedisEndpoint, rule: str
) -> None:
    allow(server, rule)
    seed(db, "a")
    control = Channel(endpoint, "control")
    waiter = Waiter(endpoint, QUEUE, "watch", control)

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
    assert verdicts == {task.lease: Verdict.DONE}
    assert asynq.where_is(db, QUEUE, "a") == "active"
    assert db.zscore(f"{PREFIX}lease", "a") > 1
