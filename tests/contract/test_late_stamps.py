"""A server that writes a task's stamps and its reverse lookup after the enqueue, while a worker is at it.

Whenever they come (before the task is taken, while it runs, when it has ended, when it has been looked at
again), the stamped lifetimes hold, and nothing of a task that ended stays for ever.
"""

import itertools
import time

import pytest
import redis

from appliance.config.settings import RetrySettings, TaskSettings
from appliance.loops.forwarder import Forwarder
from appliance.loops.janitor import Janitor
from appliance.loops.recoverer import Recoverer
from appliance.process.outcome import Failed, Outcome, Succeeded
from appliance.queue.broker import Broker
from appliance.queue.message import Task
from appliance.queue.replies import Ask
from appliance.queue.settlement import Policy
from harness.queue import asynq
from harness.sandbox.cluster import RedisCluster
from harness.sandbox.redis import RedisServer
from tests.clock import HandClock
from tests.contract import conftest
from tests.contract.conftest import OUTLIVES_S, PREFIX, QUEUE, Strict, seed

DEFAULT_S, STAMPED_S = 50_000, 700
POLICY = Policy(RetrySettings(), TaskSettings(ttl_completed_s=DEFAULT_S, ttl_archived_s=DEFAULT_S))
STAMPS = {"ttl_completed": STAMPED_S, "ttl_archived": STAMPED_S, "pending_timeout": 0, "active_timeout": 0}
#: What the worker does, in this order; the server may write before each of them.
STEPS = ("take", "settle", "first look", "last look")
#: When stamps come and when the lookup does, which is written after them.
MOMENTS = list(itertools.combinations_with_replacement(STEPS, 2))
OUTCOMES = {
    "completed": (Succeeded(b'"ok"'), True),
    "completed, not stored": (Succeeded(b'"ok"'), False),
    "archived": (Failed("boom", retry=False), False),
}


@pytest.fixture(params=["one Redis", "cluster"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RedisServer | RedisCluster:
    if request.param == "one Redis":
        return request.getfixturevalue("single")
    cluster: RedisCluster = request.getfixturevalue("cluster")
    if conftest.holds_to_one_slot(cluster):
        conftest.change_scripts(monkeypatch, lambda source: conftest.ONE_SLOT + source)
    return cluster


class Story:
    """Some tasks of one batch, from the enqueue to the last look."""

    def __init__(self, db: redis.Redis, broker: Broker, outcome: Outcome, task_ids: tuple[str, ...]) -> None:
        self._db, self._broker, self._outcome, self._ids = db, broker, outcome, task_ids
        self._tasks: tuple[Task, ...] = ()
        clock = HandClock()
        recoverer = Recoverer(broker, POLICY, clock, list)
        self._upkeep = Forwarder([QUEUE], broker, recoverer, Janitor(broker, clock, DEFAULT_S), clock, 30)
        seed(db, *task_ids)

    def stamp(self) -> None:
        """As the server does: no matter whether the hash is there (any more)."""
        for task_id in self._ids:
            self._db.hset(f"{PREFIX}t:{task_id}", mapping=STAMPS)

    def write_lookups(self) -> None:
        asynq.write_lookup(self._db, QUEUE, *self._ids)

    def do(self, step: str) -> None:
        """One of :data:`STEPS`."""
        if step == "take":
            self._tasks = self._broker.exchange([], [Ask(QUEUE, len(self._ids))]).taken[0].tasks
        elif step == "settle":
            self._broker.settle([POLICY.settle(task, self._outcome, 0) for task in self._tasks])
        else:
            time_for_the_next_look(self._db)
            self._upkeep.tick()


def time_for_the_next_look(db: redis.Redis) -> None:
    key = f"{PREFIX}ended_early"
    for entry in db.zrange(key, 0, -1):
        db.zadd(key, {entry: 1}, xx=True)


def lifetimes(db: redis.Redis) -> dict[str, int]:
    """Seconds left of everything that is about a task."""
    names = [*db.scan_iter(f"{PREFIX}t:*"), *db.scan_iter("asynq:t:*"), *db.scan_iter(f"{PREFIX}ended_early")]
    left_s = {name.decode(): db.ttl(name) for name in names}
    return {
        name: ttl_s - OUTLIVES_S if ttl_s > 0 and name.startswith(f"{PREFIX}t:") else ttl_s
        for name, ttl_s in left_s.items()
    }


@pytest.mark.parametrize("task_ids", [("a",), ("a", "b", "c")], ids=["single", "batch"])
@pytest.mark.parametrize("how", OUTCOMES)
@pytest.mark.parametrize(("stamps", "lookup"), MOMENTS)
def test_stamped_lifetimes_hold_and_nothing_stays_for_ever_whenever_stamps_and_lookup_come(
    strict: Strict, db: redis.Redis, stamps: str, lookup: str, how: str, task_ids: tuple[str, ...]
) -> None:
    outcome, keep_results = OUTCOMES[how]
    story = Story(db, Broker(strict, "me", 30, keep_results=keep_results), outcome, task_ids)  # type: ignore[arg-type]

    for step in STEPS:
        if step == stamps:
            story.stamp()
        if step == lookup:
            story.write_lookups()
        story.do(step)

    left_s = lifetimes(db)
    assert -1 not in left_s.values(), left_s
    if how == "completed, not stored":
        assert not any(name.startswith(PREFIX) for name in left_s), (
            "the task, and what was written to it since"
        )
        return
    assert len(left_s) == 2 * len(task_ids), "each task and its lookup"
    assert all(STAMPED_S - 10 < seconds <= STAMPED_S for seconds in left_s.values()), left_s
    shelf = how.partition(",")[0]
    due = [score - time.time() for _, score in db.zrange(f"{PREFIX}{shelf}", 0, -1, withscores=True)]
    assert len(due) == len(task_ids)
    assert all(STAMPED_S - 10 < seconds <= STAMPED_S + 1 for seconds in due), due


@pytest.mark.parametrize("how", OUTCOMES)
@pytest.mark.parametrize("lookup", STEPS)
def test_of_a_server_that_stamps_nothing_lookups_end_as_well_and_the_settings_hold(
    strict: Strict, db: redis.Redis, lookup: str, how: str
) -> None:
    outcome, keep_results = OUTCOMES[how]
    story = Story(db, Broker(strict, "me", 30, keep_results=keep_results), outcome, ("a",))  # type: ignore[arg-type]

    for step in STEPS:
        if step == lookup:
            story.write_lookups()
        story.do(step)

    left_s = lifetimes(db)
    assert -1 not in left_s.values(), left_s
    if how != "completed, not stored":
        assert all(DEFAULT_S - 10 < seconds <= DEFAULT_S for seconds in left_s.values()), left_s


@pytest.mark.parametrize("how", ["completed", "archived"])
def test_stamps_that_come_after_the_last_look_do_not_make_a_task_stay_for_ever(
    strict: Strict, db: redis.Redis, how: str
) -> None:
    outcome, _ = OUTCOMES[how]
    story = Story(db, Broker(strict, "me", 30, keep_results=True), outcome, ("a",))  # type: ignore[arg-type]
    for step in STEPS:
        story.do(step)
    story.stamp()
    story.write_lookups()
    assert -1 not in lifetimes(db).values()


def test_a_worker_that_dies_after_settling_leaves_the_looks_to_the_others(
    strict: Strict, db: redis.Redis
) -> None:
    dead, survivor = (Broker(strict, name, 30, keep_results=True) for name in ("dead", "survivor"))  # type: ignore[arg-type]
    Story(db, dead, Succeeded(b"1"), ("a",)).do("take")  # taken, and never heard of again
    db.flushall()
    story = Story(db, dead, Succeeded(b"1"), ("a",))
    story.do("take")
    story.do("settle")
    story.stamp()
    story.write_lookups()

    time_for_the_next_look(db)
    assert survivor.look_again(QUEUE) == 1

    left_s = {name: seconds for name, seconds in lifetimes(db).items() if "ended_early" not in name}
    assert all(STAMPED_S - 10 < seconds <= STAMPED_S for seconds in left_s.values()), left_s


def test_where_the_last_worker_stopped_at_once_one_that_comes_half_a_day_later_looks(
    strict: Strict, db: redis.Redis
) -> None:
    last, next_one = (Broker(strict, name, 30, keep_results=False) for name in ("last", "next"))  # type: ignore[arg-type]
    story = Story(db, last, Succeeded(b"1"), ("a",))
    story.do("take")
    story.do("settle")
    story.stamp()
    for name, ttl_s in lifetimes(db).items():
        if ttl_s != -1:
            db.expire(name, max(0, ttl_s - 12 * 3600))

    time_for_the_next_look(db)
    next_one.look_again(QUEUE)

    assert db.exists(f"{PREFIX}t:a") == 0, "stamps without a task"


def test_a_task_that_runs_again_by_then_is_left_alone(strict: Strict, db: redis.Redis) -> None:
    broker = Broker(strict, "me", 30, keep_results=False)  # type: ignore[arg-type]
    story = Story(db, broker, Succeeded(b"1"), ("a",))
    story.do("take")
    story.do("settle")
    seed(db, "a")  # another task of that id
    time_for_the_next_look(db)
    broker.look_again(QUEUE)
    assert asynq.where_is(db, QUEUE, "a") == "pending"
    assert db.ttl(f"{PREFIX}t:a") == -1


def test_a_lifetime_shorter_than_the_time_of_the_first_look_waits_for_stamps(
    strict: Strict, db: redis.Redis
) -> None:
    broker = Broker(strict, "me", 30, keep_results=True)  # type: ignore[arg-type]
    seed(db, "a", retention=1)
    (task,) = broker.exchange([], [Ask(QUEUE, 1)]).taken[0].tasks
    broker.settle([POLICY.settle(task, Succeeded(b"1"), 0)])
    assert 3 < db.zscore(f"{PREFIX}completed", "a") - time.time() <= 6


def test_what_a_dead_server_left_of_a_deleted_task_goes_with_the_outcome_of_its_run(
    strict: Strict, db: redis.Redis
) -> None:
    broker = Broker(strict, "me", 30, keep_results=True)  # type: ignore[arg-type]
    story = Story(db, broker, Failed("x", retry=True), ("a",))
    story.do("take")
    db.delete(f"{PREFIX}t:a")
    story.stamp()
    story.write_lookups()
    story.do("settle")
    assert db.exists(f"{PREFIX}t:a") == 0
    assert 0 < db.ttl("asynq:t:a") <= 120


def test_a_stamped_task_costs_no_second_look(strict: Strict, db: redis.Redis) -> None:
    broker = Broker(strict, "me", 30, keep_results=True)  # type: ignore[arg-type]
    story = Story(db, broker, Succeeded(b"1"), ("a", "b"))
    story.stamp()
    story.write_lookups()
    story.do("take")
    story.do("settle")
    assert db.exists(f"{PREFIX}ended_early") == 0
