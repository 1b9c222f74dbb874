"""A real Redis for the engine's tests; one server for all, emptied before each test."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import pytest
import redis

from appliance.config.settings import RedisSettings, RetrySettings, TaskSettings
from appliance.control.contract import RedisEndpoint
from appliance.queue import scripts
from appliance.queue.broker import Broker
from appliance.queue.connection import Command, Connection
from appliance.queue.opening import open_connection
from appliance.queue.scripts import Script
from appliance.queue.settlement import Policy
from harness.queue import wire
from harness.queue.strict import reader
from harness.sandbox.cluster import RedisCluster
from harness.sandbox.redis import RedisServer
from tests.machine import old_redis_server

QUEUE = "inference.high"
#: Seconds by which the hash of an ended task outlives the time at which it may be purged.
OUTLIVES_S = 120
PREFIX = "asynq:{inference.high}:"
#: In front of a script it makes Redis, from version 7 on, refuse it keys of more than one slot.
ONE_SLOT = "#!lua\n"
POLICY = Policy(RetrySettings(), TaskSettings())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None]:
    """After each test that passed, and before its Redis goes: a strict tool of asynq's can read all of it.

    Tests that leave something else on purpose say so with ``leaves_unreadable``: which rules are broken
    (none named: any) and the reason.
    """
    yield
    marks = list(item.iter_markers("leaves_unreadable"))
    assert all(mark.kwargs.get("reason") for mark in marks), "leaves_unreadable without a reason"
    if any(not mark.args for mark in marks):
        return
    expected = {rule for mark in marks for rule in mark.args}
    with ExitStack() as stack:
        findings = [
            finding
            for db in _databases(item.funcargs, stack)
            for finding in reader.read(db, but=reader.KNOWN, arrive_s=0)
        ]
    unexpected = [str(finding) for finding in findings if finding.rule not in expected]
    assert not unexpected, "a strict tool cannot read what is left:\n" + "\n".join(unexpected)
    missing = expected - {finding.rule for finding in findings} - reader.KNOWN.keys()
    assert not missing, f"the marker names rules that nothing breaks: {missing}"


def _databases(fixtures: Mapping[str, object], stack: ExitStack) -> list[redis.Redis]:
    """A client of every Redis among a test's fixtures; the test's own, where it has one, may do more."""
    if isinstance(db := fixtures.get("db"), redis.Redis | redis.RedisCluster):
        return [db]
    servers = {each for each in fixtures.values() if isinstance(each, RedisServer | RedisCluster)}
    clients = [stack.enter_context(closing(server.client())) for server in servers]
    # A Sentinel is a server, too, but holds no keys.
    return [client for client in clients if client.info("server")["redis_mode"] != "sentinel"]


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The oldest Redis that we promise to work with; this machine's own is mostly newer."""
    with RedisServer(tmp_path_factory.mktemp("embedded"), program=old_redis_server()) as running:
        with closing(running.client()) as client:
            major = int(client.info("server")["redis_version"].split(".")[0])
            assert major < 7, "a newer wheel: nothing tests what is older"
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
    # The next test may look at this Redis without a client of its own: what is left here is not its doing.
    client.flushall()
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
def channel(endpoint: RedisEndpoint) -> Iterator[Connection]:
    opened = open_connection(endpoint, "test")
    yield opened
    opened.close()


def fractions(db: redis.Redis) -> dict[str, float]:
    """Scores that a reader fails on: asynq's tools and the server read integers, though no leases."""
    found = {}
    for name in db.scan_iter("asynq:*", count=1_000, _type="zset"):
        if not name.endswith(b":lease"):
            scores = db.zrange(name, 0, -1, withscores=True)
            found |= {f"{name.decode()} {entry!r}": score for entry, score in scores if score % 1}
    return found


@pytest.fixture(autouse=True)
def whole_scores(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does to a queue, no score is left that a strict reader could not read."""
    db = request.getfixturevalue("db") if "db" in request.fixturenames else None
    yield
    if db is not None:
        assert fractions(db) == {}


class Strict:
    """A connection after each of whose batches every score is looked at."""

    def __init__(self, connection: Connection, db: redis.Redis) -> None:
        self.traffic = connection.traffic
        self.masters = connection.masters
        self._connection = connection
        self._db = db

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """What the connection does."""
        replies = self._connection.batch(commands)
        assert fractions(self._db) == {}
        return replies


@pytest.fixture
def strict(channel: Connection, db: redis.Redis) -> Strict:
    return Strict(channel, db)


@pytest.fixture
def broker(strict: Strict) -> Broker:
    return Broker(strict, "me", lease_s=30, keep_results=True)  # type: ignore[arg-type]


@pytest.fixture
def other(strict: Strict) -> Broker:
    """Another worker on the same queue, with a lease that is over at once."""
    return Broker(strict, "other", lease_s=-1, keep_results=True)  # type: ignore[arg-type]


def seed(db: redis.Redis, *task_ids: str, queue: str = QUEUE, **fields: object) -> None:
    """Put tasks into pending as a client does: the first named is the first to be served."""
    db.sadd("asynq:queues", queue)
    for task_id in task_ids:
        message = wire.encode(
            {"type": "t", "payload": b'{"n":1}', "id": task_id, "queue": queue, "retry": 3, **fields}
        )
        stored = {"msg": message, "state": "pending", "pending_since": time.time_ns()}
        db.hset(f"asynq:{{{queue}}}:t:{task_id}", mapping=stored)
        db.lpush(f"asynq:{{{queue}}}:pending", task_id)
