"""A real Redis for the engine's tests; one server for all, emptied before each test."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis

from appliance.config.settings import RedisSettings, RetrySettings, TaskSettings
from appliance.control.contract import RedisEndpoint
from appliance.queue import scripts
from appliance.queue.broker import Broker
from appliance.queue.connection import Line
from appliance.queue.opening import open_line
from appliance.queue.scripts import Script
from appliance.queue.settlement import Policy
from harness import wire
from harness.cluster import RedisCluster
from harness.redis import RedisServer

QUEUE = "inference.high"
PREFIX = "asynq:{inference.high}:"
#: In front of a script it makes Redis, from version 7 on, refuse it keys of more than one slot.
ONE_SLOT = "#!lua\n"
POLICY = Policy(RetrySettings(), TaskSettings())


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def server(single: RedisServer) -> RedisServer | RedisCluster:
    """Where a test runs; a module may choose another."""
    return single


@pytest.fixture
def db(server: RedisServer | RedisCluster) -> Iterator[redis.Redis]:
    client = server.client()
    client.flushall()
    yield client
    client.close()


def change_scripts(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    """Let every broker use scripts with another source for the time of a test."""
    changed = tuple(Script.of(script.name, change(script.source)) for script in scripts.ALL)
    for script in changed:
        monkeypatch.setattr(scripts, script.name.upper(), script)
    monkeypatch.setattr(scripts, "ALL", changed)


def holds_to_one_slot(cluster: RedisCluster) -> bool:
    """Whether this Redis knows :data:`ONE_SLOT`."""
    with closing(cluster.nodes[0].client()) as client:
        return int(client.info("server")["redis_version"].split(".")[0]) >= 7


def endpoint_of(server: RedisServer | RedisCluster) -> RedisEndpoint:
    settings = RedisSettings(cluster=isinstance(server, RedisCluster))
    return RedisEndpoint(server.host, server.port, password="", db=0, use_tls=False, settings=settings)


@pytest.fixture
def endpoint(server: RedisServer | RedisCluster) -> RedisEndpoint:
    return endpoint_of(server)


@pytest.fixture
def channel(endpoint: RedisEndpoint) -> Iterator[Line]:
    opened = open_line(endpoint, "test")
    yield opened
    opened.close()


@pytest.fixture
def broker(channel: Line, db: redis.Redis) -> Broker:
    return Broker(channel, "me", lease_s=30, keep_results=True)


@pytest.fixture
def other(channel: Line, db: redis.Redis) -> Broker:
    """Another worker on the same queue, with a lease that is over at once."""
    return Broker(channel, "other", lease_s=0.001, keep_results=True)


def seed(db: redis.Redis, *task_ids: str, queue: str = QUEUE, **fields: object) -> None:
    """Put tasks into pending as a client does: the first named is the first to be served."""
    for task_id in task_ids:
        message = wire.encode(
            {"type": "t", "payload": b'{"n":1}', "id": task_id, "queue": queue, "retry": 3, **fields}
        )
        stored = {"msg": message, "state": "pending", "pending_since": time.time_ns()}
        db.hset(f"asynq:{{{queue}}}:t:{task_id}", mapping=stored)
        db.lpush(f"asynq:{{{queue}}}:pending", task_id)
