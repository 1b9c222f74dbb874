"""A real Redis for the engine's tests; one server for all, emptied before each test."""

from collections.abc import Iterator

import pytest
import redis

from appliance.control.contract import RedisEndpoint
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from harness.redis import RedisServer

QUEUE = "inference.high"


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
