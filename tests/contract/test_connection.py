"""The connection to Redis: lost, refused, demoted, and what is done about each."""

import os
import re
from dataclasses import replace

import gevent
import pytest
import redis
from gevent.monkey import get_original

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueRejected, QueueUnavailable
from appliance.process.outcome import Succeeded
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from appliance.queue.message import Task
from appliance.queue.opening import open_connection
from appliance.queue.replies import Ask, FenceReply
from appliance.queue.scripts import Script
from harness.sandbox.cluster import RedisCluster
from harness.sandbox.redis import RedisServer
from tests.contract import conftest
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed

RealSocket = get_original("socket", "socket")


@pytest.fixture(params=["single", "embedded"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    found: RedisServer = request.getfixturevalue(request.param)
    return found


def take_one(broker: Broker) -> Task:
    taken = broker.exchange([], [Ask(QUEUE, 1)]).taken[0]
    assert taken is not None
    (task,) = taken.tasks
    return task


def test_scripts_that_redis_forgot_are_loaded_again(broker: Broker, db: redis.Redis) -> None:
    seed(db, "a")
    task = take_one(broker)
    db.script_flush()
    assert broker.settle([POLICY.settle(task, Succeeded(b"1"), 0)]) == (FenceReply.DONE,)


def test_a_redis_that_is_not_there_is_unavailable(endpoint: object, tmp_path: object) -> None:
    gone = Channel(replace(endpoint, port=1), "test")  # type: ignore[type-var]
    with pytest.raises(QueueUnavailable, match=r"127\.0\.0\.1:1"):
        gone.call("PING")


@pytest.mark.parametrize("host", ["redis..svc", "r" * 64 + ".svc"])
def test_a_host_that_no_name_service_would_be_asked_for_is_unavailable(
    endpoint: RedisEndpoint, host: str
) -> None:
    with pytest.raises(QueueUnavailable, match=re.escape(host)):
        Channel(replace(endpoint, host=host), "test").call("PING")


def test_what_waits_for_its_turn_does_not_go_out_on_a_channel_that_was_closed(
    channel: Channel, db: redis.Redis
) -> None:
    first = gevent.spawn(channel.call, "BLPOP", "nothing", 30)
    gevent.idle()
    second = gevent.spawn(channel.call, "SET", "late", "1")
    gevent.idle()

    channel.close()

    for lost in (first, second):
        with pytest.raises(QueueUnavailable):
            lost.get(timeout=30)
    assert channel.call("PING") == b"PONG"
    assert db.get("late") is None


def test_a_refused_command_is_rejected_and_leaves_the_channel_usable(
    channel: Channel, db: redis.Redis
) -> None:
    db.set("text", "x")
    with pytest.raises(QueueRejected, match="WRONGTYPE"):
        channel.call("LPUSH", "text", "y")
    assert channel.call("PING") == b"PONG"


def test_a_read_only_replica_is_trouble_that_passes(channel: Channel, db: redis.Redis) -> None:
    channel.call("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(QueueUnavailable, match="read only replica"):
            channel.call("SET", "a", "b")
    finally:
        channel.call("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("script", ["redis.call('SET', KEYS[1], 1)", "return redis.pcall('SET', KEYS[1], 1)"])
def test_what_keeps_a_script_from_writing_for_now_is_trouble_that_passes(
    channel: Channel, db: redis.Redis, script: str
) -> None:
    db.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable, match="used memory"):
            channel.call("EVAL", script, 1, "a")
    finally:
        db.config_set("maxmemory", 0)


@pytest.mark.parametrize("script", ["redis.call('LPUSH', KEYS[1], 'x')", "return nothing.field"])
def test_a_script_that_goes_wrong_is_rejected_with_where_it_did(
    channel: Channel, db: redis.Redis, script: str
) -> None:
    db.set("text", "x")
    with pytest.raises(QueueRejected, match=r"script: [0-9a-f]{40}, on @user_script:1\."):
        channel.call("EVAL", script, 1, "text")


@pytest.mark.leaves_unreadable("entries have a task", reason="an entry is enough to make forwarding write")
def test_a_redis_that_became_a_replica_is_not_asked_again_over_the_same_connection(
    channel: Channel, db: redis.Redis
) -> None:
    seed(db, "a")
    broker = Broker(channel, "me", 30, keep_results=True)
    db.zadd(f"{PREFIX}scheduled", {"due": 1})
    db.replicaof("127.0.0.1", 1)
    try:
        assert isinstance(broker.forward([QUEUE]).failure, QueueUnavailable)
        assert not channel.connected
    finally:
        db.replicaof("no", "one")
    assert take_one(broker).lease.task_id == "a"


def test_a_connection_cut_by_the_server_is_opened_again(channel: Channel, db: redis.Redis) -> None:
    me = channel.call("CLIENT", "ID")
    db.client_kill_filter(_id=str(me))
    with pytest.raises(QueueUnavailable):
        channel.call("PING")
    assert channel.call("PING") == b"PONG"


def test_a_cluster_refuses_a_script_that_touches_two_slots(cluster: RedisCluster) -> None:
    if not conftest.holds_to_one_slot(cluster):
        pytest.skip("Redis before 7 cannot be made to look")
    # In two slots of the same node.
    two = Script.of("two", conftest.ONE_SLOT + "redis.call('SET', 'a', 1) redis.call('SET', 'd', 1)")
    line = open_connection(conftest.endpoint_of(cluster), "test")
    with pytest.raises(QueueRejected, match="same slot"):
        line.call("EVAL", two.source, 1, "a")


@pytest.mark.parametrize("replies", [1, 64])
def test_while_much_comes_in_others_have_their_turns(channel: Channel, db: redis.Redis, replies: int) -> None:
    """Of a Redis beside it there is always more to read: a quarter of a gigabyte was one piece."""
    size = 64_000_000 // replies
    db.set("large", b"x" * size)
    assert channel.call("PING")
    turns = 0

    def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    # One on which nothing ever has to be waited for, as gevent sees it.
    parser = channel._connection._parser
    with RealSocket(fileno=os.dup(parser._sock.fileno())) as always_ready:
        always_ready.setblocking(True)
        parser._sock = always_ready
        other = gevent.spawn(take_turns)
        try:
            assert [*map(len, channel.batch([("GET", "large")] * replies))] == [size] * replies
        finally:
            other.kill()
            channel.close()
            db.delete("large")
    # A thousand reads of 64 kB.
    assert turns > 16


def test_a_channel_that_is_closed_while_a_large_reply_comes_in_is_unavailable(
    channel: Channel, db: redis.Redis
) -> None:
    db.set("large", b"x" * 64_000_000)
    assert channel.call("PING")
    closing = gevent.spawn(channel.close)
    try:
        with pytest.raises(QueueUnavailable):
            channel.call("GET", "large")
    finally:
        closing.join()
        db.delete("large")
    assert channel.call("PING") == b"PONG"
