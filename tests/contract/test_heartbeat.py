"""What a heartbeat leaves in the set of workers, on a real Redis."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import redis

from appliance.loops.heartbeat import REMEMBERED_S, TRIM_EVERY_S, Heartbeat, Identity, Status, Vitals
from appliance.observe.system import SystemMetrics
from appliance.queue import keys
from appliance.queue.connection import Channel
from tests.contract.test_upkeep import HandClock

NOW = 1_800_000_000


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@pytest.fixture
def heartbeat(channel: Channel, clock: HandClock, db: redis.Redis) -> Heartbeat:
    identity = Identity(worker_id="me", started_at_wall_s=NOW, concurrency=1, instance_id=None)
    vitals = Vitals(status=Status.RUNNING, healthy=True, queues={}, recovery={}, commits={})
    return Heartbeat(channel, identity, lambda: vitals, (), SystemMetrics(clock), clock)


def workers(db: redis.Redis) -> Sequence[bytes]:
    return db.zrange(keys.WORKERS, 0, -1)


def test_workers_that_are_remembered_no_longer_are_taken_out_of_the_set(
    heartbeat: Heartbeat, db: redis.Redis
) -> None:
    db.zadd(keys.WORKERS, {"long gone": NOW - 1, "just in time": NOW, "alive": NOW + REMEMBERED_S})
    heartbeat.beat()
    assert set(workers(db)) == {b"just in time", b"alive", b"me"}


def test_they_are_looked_for_now_and_then_only(
    heartbeat: Heartbeat, clock: HandClock, db: redis.Redis
) -> None:
    heartbeat.beat()
    db.zadd(keys.WORKERS, {"gone": NOW - 1})
    clock.sleep(TRIM_EVERY_S - 1)
    heartbeat.beat()
    assert b"gone" in workers(db)
    clock.sleep(1)
    heartbeat.beat()
    assert b"gone" not in workers(db)


def test_a_process_that_is_down_for_a_moment_is_told_of_at_once(
    channel: Channel, clock: HandClock, db: redis.Redis
) -> None:
    identity = Identity(worker_id="me", started_at_wall_s=NOW, concurrency=1, instance_id=None)
    vitals = Vitals(status=Status.RUNNING, healthy=True, queues={}, recovery={}, commits={})
    heartbeat = Heartbeat(channel, identity, lambda: vitals, (), SystemMetrics(clock), clock)
    heartbeat.tick()

    clock.sleep(0.1)
    heartbeat.tick()
    assert db.hget(keys.worker("me"), "healthy") == b"1"
    vitals = replace(vitals, healthy=False, recovery={"q": {"state": "recovering"}})
    heartbeat.tick()

    assert db.hget(keys.worker("me"), "healthy") == b"0"
    assert b"recovering" in (db.hget(keys.worker("me"), "recovery") or b"")
