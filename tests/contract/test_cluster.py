"""Commands on a Redis Cluster: a slot on its way, a batch cut short, a node that hangs, no cluster at all."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import gevent
import pytest
import redis

from appliance.config.settings import RedisSettings
from appliance.errors import QueueNodeUnavailable, QueueUnavailable
from appliance.queue.cluster import ClusterChannel
from appliance.queue.connection import NodeUnavailable
from appliance.queue.opening import open_channel, open_connection
from harness import wait
from harness.sandbox.cluster import RedisCluster
from harness.sandbox.redis import RedisServer
from tests.contract.conftest import endpoint_of

#: Seconds until a node that does not answer counts as away: less than the cluster itself waits.
REPLY_TIMEOUT_S = 0.5


@pytest.fixture
def server(cluster: RedisCluster) -> RedisCluster:
    return cluster


@pytest.fixture
def line(cluster: RedisCluster, db: redis.Redis) -> Iterator[ClusterChannel]:
    with closing(ClusterChannel(endpoint_of(cluster), "test", reply_timeout_s=REPLY_TIMEOUT_S)) as opened:
        yield opened


def keys_apart(cluster: RedisCluster) -> tuple[tuple[RedisServer, str], ...]:
    """A key on each of two nodes, with the node."""
    first, second, _ = cluster.queues_apart("apart")
    return (cluster.owner(first), f"{{{first}}}"), (cluster.owner(second), f"{{{second}}}")


@contextmanager
def slot_on_its_way(cluster: RedisCluster, queue: str) -> Iterator[RedisServer]:
    """To the node this yields, and back where it was afterwards."""
    source = cluster.owner(queue)
    target = next(node for node in cluster.nodes if node is not source)
    cluster.begin_move(queue, target)
    try:
        yield target
    finally:
        cluster.end_move(queue, target)
        cluster.begin_move(queue, source)
        cluster.end_move(queue, source)


@pytest.mark.leaves_unreadable("keys are known", reason="keys of any kind show the way")
def test_a_key_that_has_moved_ahead_of_its_slot_is_asked_for_where_it_is(
    cluster: RedisCluster, line: ClusterChannel
) -> None:
    one, two, new = ("asynq:{moving}:" + name for name in ("one", "two", "new"))
    assert line.batch([("SET", one, "1"), ("SET", two, "2")]) == [b"OK", b"OK"]

    with slot_on_its_way(cluster, "moving") as target:
        cluster.move_keys("moving", target, 1)
        answers = line.batch([("GET", one), ("SET", new, "3"), ("GET", two), ("GET", new), ("PING",)])

        assert answers == [b"1", b"OK", b"2", b"3", b"PONG"]
        # A script looks at more than the key that names its node: half a queue would be taken for all of it.
        with pytest.raises(QueueNodeUnavailable, match="is moving slot"):
            line.call("EVAL", "return 1", 1, new)
    assert line.call("EVAL", "return redis.call('GET', KEYS[1])", 1, new) == b"3"


def test_a_batch_that_is_killed_half_way_leaves_no_answers_for_the_next(
    cluster: RedisCluster, line: ClusterChannel
) -> None:
    (_, quick), (slow_node, slow) = keys_apart(cluster)
    line.batch([("SET", f"{quick}:text", "quick"), ("SET", f"{slow}:text", "slow")])
    with closing(slow_node.client()) as db:
        killed = gevent.spawn(line.batch, [("GET", f"{quick}:text"), ("BLPOP", f"{slow}:list", 30)])
        wait.until(
            lambda: db.info("clients")["blocked_clients"], 60, "the batch to wait for its second answer"
        )

        killed.kill()

        answers = line.batch([("STRLEN", f"{quick}:text"), ("STRLEN", f"{slow}:text")])
        assert answers == [5, 4]


def test_nothing_goes_on_at_connections_that_were_closed(cluster: RedisCluster, line: ClusterChannel) -> None:
    (node, key), _ = keys_apart(cluster)
    with closing(node.client()) as db:
        first = gevent.spawn(line.batch, [("BLPOP", f"{key}:list", 30)])
        wait.until(lambda: db.info("clients")["blocked_clients"], 60, "the first to wait for its answer")
        second = gevent.spawn(line.batch, [("SET", f"{key}:late", "1")])
        gevent.idle()

        line.close()

        lost = [first.get(timeout=30)[0], second.get(timeout=30)[0]]
        assert [type(each) for each in lost] == [NodeUnavailable, NodeUnavailable]
        assert line._mending is None
        assert line.batch([("GET", f"{key}:late")]) == [None]


def test_a_node_that_hangs_holds_up_its_own_commands_once_and_those_of_others_never_again(
    cluster: RedisCluster, line: ClusterChannel
) -> None:
    (hung, key), (_, other) = keys_apart(cluster)
    assert line.batch([("SET", key, "a"), ("SET", other, "b")]) == [b"OK", b"OK"]
    assert hung.pid is not None
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        first = line.batch([("GET", key), ("GET", other)])
        began_s = time.monotonic()
        again = line.batch([("GET", key), ("GET", other)])
        took_s = time.monotonic() - began_s
    finally:
        os.kill(hung.pid, signal.SIGCONT)

    assert isinstance(first[0], NodeUnavailable)
    assert f":{hung.port}" in str(first[0])
    assert first[1] == b"b"
    assert isinstance(again[0], NodeUnavailable)
    assert took_s < REPLY_TIMEOUT_S
    wait.until(lambda: line.batch([("GET", key), ("GET", other)]) == [b"a", b"b"], 60, "the node to be back")
    cluster.settled()


@pytest.mark.parametrize("key", ["", "asynq:{inference.high}:pending"])
def test_a_redis_that_is_no_cluster_is_named_with_the_setting_that_says_it_is(
    single: RedisServer, key: str
) -> None:
    endpoint = replace(endpoint_of(single), settings=RedisSettings(cluster=True))
    said = rf"Redis at 127\.0\.0\.1:{single.port} is no Redis Cluster, as RUNQY_REDIS_CLUSTER has it"

    with pytest.raises(QueueUnavailable, match=said):
        open_connection(endpoint, "test").call("PING")
    with pytest.raises(QueueUnavailable, match=said):
        open_channel(endpoint, "test", key=key).call("PING")
