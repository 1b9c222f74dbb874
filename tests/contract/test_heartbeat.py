"""What a heartbeat leaves in Redis, and what remains of a worker that has ended; on a real Redis."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import redis

from appliance.loops.heartbeat import (
    BEAT_EVERY_S,
    HASH_TTL_S,
    REMEMBERED_S,
    TRIM_EVERY_S,
    Heartbeat,
)
from appliance.observe.crash import DOSSIER_TTL_S
from appliance.observe.outbound import Outbound
from appliance.observe.output import KEPT_LINES, MOST_LINES
from appliance.observe.system import SystemMetrics
from appliance.queue import keys
from appliance.queue.connection import Channel
from appliance.snapshot import Identity, ParentSnapshot, RedisSnapshot, Status, WorkerSnapshot
from harness.server import heartbeats
from tests.clock import HandClock

NOW = 1_800_000_000


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@pytest.fixture
def logs() -> Outbound:
    return Outbound(keys.worker_logs("me"), kept=KEPT_LINES, longest=MOST_LINES, ttl_s=HASH_TTL_S)


@pytest.fixture
def crashes() -> Outbound:
    return Outbound(keys.worker_crashes("me"), kept=2, longest=2, ttl_s=DOSSIER_TTL_S)


PARENT = ParentSnapshot("q", commit="c0ffee", ready=True, recovery="idle", redis=RedisSnapshot("redis:6379"))


@pytest.fixture
def taken() -> list[WorkerSnapshot]:
    """The worker as it is: the last entry."""
    identity = Identity("me", "1", "3", started_at_wall_s=NOW, concurrency=1)
    return [WorkerSnapshot(identity, Status.RUNNING, (PARENT,), now_wall_s=NOW)]


@pytest.fixture
def heartbeat(
    channel: Channel,
    clock: HandClock,
    db: redis.Redis,
    logs: Outbound,
    crashes: Outbound,
    taken: list[WorkerSnapshot],
) -> Heartbeat:
    def now() -> WorkerSnapshot:
        return replace(taken[-1], now_wall_s=clock.wall())

    return Heartbeat(channel, now, logs, crashes, SystemMetrics(clock), clock)


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
    heartbeat: Heartbeat, taken: list[WorkerSnapshot], clock: HandClock, db: redis.Redis
) -> None:
    heartbeat.tick()

    clock.sleep(0.1)
    heartbeat.tick()
    assert db.hget(keys.worker("me"), "healthy") == b"1"
    taken.append(replace(taken[-1], parents=(replace(PARENT, recovery="recovering"),)))
    heartbeat.tick()

    assert db.hget(keys.worker("me"), "healthy") == b"0"
    assert b"recovering" in (db.hget(keys.worker("me"), "recovery") or b"")


def test_a_beat_comes_at_its_time_and_one_that_is_late_at_the_next_look(
    heartbeat: Heartbeat, clock: HandClock, db: redis.Redis
) -> None:
    def beaten() -> bytes | None:
        return db.hget(keys.worker("me"), "last_beat")

    assert 0 < heartbeat.tick() <= 1
    first = beaten()
    clock.sleep(BEAT_EVERY_S - 0.25)
    assert heartbeat.tick() == pytest.approx(0.25)
    assert beaten() == first
    clock.sleep(3)
    heartbeat.tick()
    assert beaten() != first
    assert BEAT_EVERY_S < 5, "the server asks for one every 5 s"


def test_a_quiet_worker_is_a_running_one_for_the_server(
    heartbeat: Heartbeat, taken: list[WorkerSnapshot], db: redis.Redis
) -> None:
    taken.append(replace(taken[-1], quiet=True))
    heartbeat.tick()
    assert db.hmget(keys.worker("me"), "status", "quiet") == [b"running", b"1"]
    taken.append(replace(taken[-1], quiet=False))
    heartbeat.tick()
    assert db.hmget(keys.worker("me"), "status", "quiet") == [b"running", b"0"]


def test_a_worker_says_no_status_that_the_server_does_not_know() -> None:
    assert {status.value for status in Status} <= set(heartbeats.STATUSES)


def test_of_a_worker_that_has_left_nothing_remains_but_its_crash_dossiers(
    heartbeat: Heartbeat, logs: Outbound, crashes: Outbound, db: redis.Redis
) -> None:
    logs.add("a line")
    heartbeat.tick()
    assert set(db.keys("asynq:workers*")) == {b"asynq:workers", b"asynq:workers:me", b"asynq:workers:me:logs"}
    crashes.add("the dossier of a crash on the way out")
    logs.add("its last line")

    heartbeat.leave()

    # The server's autoscaler counts what it finds under asynq:workers:*, whatever it says of itself.
    assert db.keys("*") == [b"asynq:crashes:me"]
    assert db.lrange("asynq:crashes:me", 0, -1) == [b"the dossier of a crash on the way out"]
    assert HASH_TTL_S < db.ttl("asynq:crashes:me") <= DOSSIER_TTL_S


@pytest.mark.leaves_unreadable("log lines are readable", reason="lines of any text do")
def test_lines_live_as_long_as_their_worker(
    heartbeat: Heartbeat, logs: Outbound, clock: HandClock, db: redis.Redis
) -> None:
    logs.add("the only line")
    heartbeat.tick()
    assert 0 < db.ttl(logs.key) <= HASH_TTL_S
    # Nothing is printed for so long that they are about to go.
    db.expire(logs.key, 2)
    clock.sleep(BEAT_EVERY_S)
    heartbeat.tick()
    assert 2 < db.ttl(logs.key) <= db.ttl(keys.worker("me")) <= HASH_TTL_S


@pytest.mark.leaves_unreadable("log lines are readable", reason="lines of any text do")
def test_a_reader_by_position_sees_lines_grow_and_be_cut_in_steps(
    heartbeat: Heartbeat, logs: Outbound, db: redis.Redis
) -> None:
    lengths = []
    for number in range(MOST_LINES + 1):
        logs.add(str(number))
        if number % 100 == 0 or number >= MOST_LINES - 1:
            heartbeat.tick()
            lengths.append(db.llen(logs.key))
    assert lengths == [*range(1, MOST_LINES, 100), MOST_LINES, KEPT_LINES]
    assert (db.lindex(logs.key, 0), db.lindex(logs.key, -1)) == (b"501", b"1000")


def test_only_the_newest_crash_dossiers_are_kept(
    heartbeat: Heartbeat, crashes: Outbound, db: redis.Redis
) -> None:
    for number in range(4):
        crashes.add(str(number))
        heartbeat.tick()
    assert db.lrange(crashes.key, 0, -1) == [b"2", b"3"]
