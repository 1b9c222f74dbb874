"""A real Redis for the engine's tests; one server for all, emptied before each test."""

import time
from collections.abc import Iterator

import pytest
import redis

from appliance.config.settings import RetrySettings, TaskSettings
from appliance.control.contract import RedisEndpoint
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from appliance.queue.settlement import Policy
from harness import wire
from harness.redis import RedisServer

QUEUE = "inference.high"
PREFIX = "asynq:{inference.high}:"
POLICY = Policy(RetrySettings(), TaskSettings())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def db(server: RedisServer) -> Iterator[redis.Redis]:
    client = server.client()
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def endpoint(server: RedisServer) -> RedisEndpoint:
    return RedisEndpoint(host=server.host, port=server.port, password="", db=0, use_tls=False)


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
