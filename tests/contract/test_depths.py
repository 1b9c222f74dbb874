"""How many tasks of a queue are where, and how long the next has waited, as Redis says it."""

import time
from collections.abc import Sequence
from typing import Any

import gevent
import pytest
import redis

from appliance.queue.connection import Command, Connection
from appliance.queue.depths import FRESH_S, DepthGauge, Depths
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.redis import RedisServer
from tests.clock import HandClock
from tests.contract.conftest import QUEUE, seed

HOUR_NS = 3_600 * 10**9


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def known(connection: Connection) -> Depths:
    gauge = DepthGauge(connection, [QUEUE], HandClock())
    gauge.refresh()
    return gauge.depths[QUEUE]


def test_each_task_is_counted_where_it_is(channel: Connection, db: redis.Redis) -> None:
    # given
    asynq.seed_pending(db, QUEUE, NewTask(), NewTask())
    asynq.seed_active(db, QUEUE, NewTask(), lease_until_s=time.time() + 60)
    soon_s = int(time.time()) + 60
    asynq.seed_scheduled(db, QUEUE, *(NewTask() for _ in range(3)), due_s=soon_s)
    asynq.seed_retry(db, QUEUE, *(NewTask() for _ in range(4)), due_s=soon_s)
    asynq.seed_archived(db, QUEUE, *(NewTask() for _ in range(5)), purge_at_s=soon_s)

    # when, then
    depths = known(channel)
    assert (depths.pending, depths.active, depths.scheduled, depths.retry, depths.archived) == (2, 1, 3, 4, 5)
    assert (depths.completed, depths.paused) == (0, False)


def test_the_age_is_that_of_the_task_which_is_served_next(channel: Connection, db: redis.Redis) -> None:
    seed(db, "first", "second")
    db.hset(f"asynq:{{{QUEUE}}}:t:first", "pending_since", time.time_ns() - HOUR_NS)

    age_s = known(channel).oldest_pending_s

    assert age_s is not None
    assert 3_600 <= age_s < 3_700


@pytest.mark.leaves_unreadable(reason="a client wrote nonsense")
@pytest.mark.parametrize("since", [None, "nonsense"])
def test_a_task_that_does_not_say_since_when_has_no_age(
    channel: Connection, db: redis.Redis, since: str | None
) -> None:
    seed(db, "a")
    key = f"asynq:{{{QUEUE}}}:t:a"
    db.hset(key, "pending_since", since) if since else db.hdel(key, "pending_since")

    assert known(channel).oldest_pending_s is None


@pytest.mark.leaves_unreadable(reason="a paused queue without a task was never a queue")
def test_an_empty_queue_has_waited_for_nothing(channel: Connection, db: redis.Redis) -> None:
    db.set(f"asynq:{{{QUEUE}}}:paused", 1)

    assert known(channel) == Depths(0, 0, 0, 0, 0, 0, paused=True, oldest_pending_s=0.0)


class Slow:
    """A connection on which the first command hangs until it is let go."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.let_go = gevent.event.Event()
        self.asked = 0

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        self.asked += 1
        self.let_go.wait(60)
        return self._connection.batch(commands)


def test_redis_is_asked_once_however_many_look_and_however_long_it_takes(
    channel: Connection, clock: HandClock
) -> None:
    slow = Slow(channel)
    gauge = DepthGauge(slow, [QUEUE], clock)  # type: ignore[arg-type]
    first = gevent.spawn(gauge.refresh)
    gevent.sleep(0)
    clock.now_s += 10 * FRESH_S
    gauge.refresh()  # does not wait for it either
    assert (slow.asked, gauge.depths) == (1, {})

    slow.let_go.set()
    first.join(60)
    asked = slow.asked
    assert gauge.depths.keys() == {QUEUE}
    clock.now_s += FRESH_S
    gauge.refresh()
    gauge.refresh()
    assert slow.asked == asked + 1


def test_what_was_known_is_forgotten_while_redis_is_away(
    channel: Connection, clock: HandClock, single: RedisServer
) -> None:
    gauge = DepthGauge(channel, [QUEUE], clock)
    gauge.refresh()
    assert gauge.depths
    single.stop()
    try:
        clock.now_s += FRESH_S
        gauge.refresh()
        assert gauge.depths == {}
    finally:
        single.start()
