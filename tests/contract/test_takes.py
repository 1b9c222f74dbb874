"""A take that Redis carries out later than it was meant takes nothing."""

from collections.abc import Callable

import gevent
import pytest
import redis

from appliance.queue.broker import Broker
from appliance.queue.connection import Channel, Connection
from appliance.queue.replies import Ask, Taken
from appliance.queue.takes import HOLDS_S, LONGEST_S
from harness import wait
from harness.faults import processes
from harness.queue import asynq
from harness.sandbox.cluster import RedisCluster
from harness.sandbox.redis import RedisServer
from tests.clock import HandClock
from tests.contract.conftest import PREFIX, QUEUE, endpoint_of, seed


@pytest.fixture(params=["single", "embedded", "cluster"])
def server(request: pytest.FixtureRequest) -> RedisServer | RedisCluster:
    found: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def broker(channel: Connection, clock: HandClock) -> Broker:
    return Broker(channel, "me", 30, keep_results=True, clock=clock)


def take(broker: Broker, ask: Ask | None = None) -> Taken:
    (taken,) = broker.exchange([], [ask or Ask(QUEUE, 1)]).taken
    assert taken is not None
    return taken


def ids(taken: Taken) -> list[str]:
    return [task.lease.task_id for task in taken.tasks]


def move(db: redis.Redis) -> bytes:
    """What a watch does."""
    moved: bytes = db.lmove(f"{PREFIX}pending", f"{PREFIX}active", "RIGHT", "LEFT")
    return moved


@pytest.mark.parametrize("how", ["take", "claim"])
def test_one_that_comes_too_late_changes_nothing_and_the_next_one_takes(
    broker: Broker, clock: HandClock, db: redis.Redis, how: str
) -> None:
    take(broker)  # what Redis's clock says is learned from this
    seed(db, "a")
    ask = Ask(QUEUE, 1) if how == "take" else Ask(QUEUE, arrived=(move(db),))
    place = asynq.where_is(db, QUEUE, "a")

    # As if it had been sent so long ago.
    clock.now_s -= HOLDS_S
    late = take(broker, ask)

    assert (late.too_late, ids(late)) == (True, [])
    assert asynq.where_is(db, QUEUE, "a") == place
    assert db.zcard(f"{PREFIX}lease") == 0
    assert db.hget(asynq.task_key(QUEUE, "a"), "attempt") is None

    assert ids(take(broker, ask)) == ["a"]


def test_one_that_comes_in_time_takes_although_the_clocks_differ_by_years(
    broker: Broker, clock: HandClock, db: redis.Redis
) -> None:
    take(broker)
    seed(db, "a")
    clock.now_s += HOLDS_S / 2
    assert ids(take(broker)) == ["a"]


def test_where_the_way_is_slow_takes_hold_longer_until_one_comes_in_time(
    broker: Broker, clock: HandClock, db: redis.Redis
) -> None:
    take(broker)
    found = []
    for _ in range(4):
        clock.now_s -= 1.5 * HOLDS_S
        found.append(take(broker).too_late)
    assert found == [True, False, True, False]
    assert broker.takes_over_s == 0
    for _ in range(4):
        clock.now_s -= LONGEST_S
        assert take(broker).too_late


def test_the_last_moment_at_which_one_without_an_answer_can_be_carried_out_is_known(
    broker: Broker, clock: HandClock, channel: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: object) -> list[object]:
        raise ConnectionError

    assert broker.takes_over_s == 0
    take(broker)
    with monkeypatch.context() as patched:
        patched.setattr(channel, "batch", lost)
        with pytest.raises(ConnectionError):
            take(broker)
    assert broker.takes_over_s == clock.now_s + HOLDS_S

    clock.now_s += HOLDS_S / 2
    take(broker)
    assert broker.takes_over_s == clock.now_s + HOLDS_S / 2, "an answer to another says nothing of it"


def test_a_take_that_waits_in_a_redis_that_hangs_is_void_when_that_goes_on(
    single: RedisServer, until: Callable[..., None]
) -> None:
    """What a stop during a hang leaves behind: a worker that is gone, and its take in the socket."""
    with single.client() as db:
        db.flushall()
        channel = Channel(endpoint_of(single), "gone")
        gone = Broker(channel, "gone", 30, keep_results=True)
        take(gone)
        seed(db, *(f"t{n}" for n in range(7)))
        with processes.stopped(single.pid):
            worker = gevent.spawn(gone.exchange, [], [Ask(QUEUE, 7)])
            until(lambda: gone.takes_over_s > 0, "the take to be sent")
            # Longer than it holds: it is Redis's clock that counts.
            gevent.sleep(HOLDS_S + 0.2)
            worker.kill()
            channel.close()
        assert db.llen(f"{PREFIX}pending") == 7
        assert db.zcard(f"{PREFIX}lease") == 0


@pytest.fixture
def until() -> Callable[..., None]:
    return lambda check, what: wait.until(check, 60, what)
