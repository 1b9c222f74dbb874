"""A real Redis for the engine's tests; one server for all, emptied before each test."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis

from appliance.config.settings import RetrySettings, TaskSettings
from appliance.control.contract import RedisEndpoint
from appliance.queue import scripts
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from appliance.queue.scripts import Script
from appliance.queue.settlement import Policy
from harness import wait, wire
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
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A cluster of one node, which has all the slots."""
    with (
        RedisServer(tmp_path_factory.mktemp("cluster"), extra_args=("--cluster-enabled", "yes")) as running,
        closing(running.client()) as client,
    ):
        client.execute_command("CLUSTER ADDSLOTS", *range(16_384))
        wait.until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 20, "the cluster")
        yield running


@pytest.fixture
def server(single: RedisServer) -> RedisServer:
    """Where a test runs; a module may choose another."""
    return single


@pytest.fixture
def db(server: RedisServer) -> Iterator[redis.Redis]:
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


def holds_to_one_slot(server: RedisServer) -> bool:
    """Whether this Redis knows :data:`ONE_SLOT`."""
    with closing(server.client()) as client:
        return int(client.info("server")["redis_version"].split(".")[0]) >= 7


def endpoint_of(server: RedisServer) -> RedisEndpoint:
    return RedisEndpoint(host=server.host, port=server.port, password="", db=0, use_tls=False)


@pytest.fixture
def endpoint(server: RedisServer) -> RedisEndpoint:
    return endpoint_of(server)


@pytest.fixture
def channel(endpoint: RedisEndpoint) -> Iterator[Channel]:
    opened = Channel(endpoint, "test")
    yield opened
    opened.close()


@pytest.fixture
def broker(channel: Channel, db: redis.Redis) -> Broker:
    return Broker(channel, "me", lease_s=30, keep_results=True)


@pytest.fixture
def other(channel: Channel, db: redis.Redis) -> Broker:
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
