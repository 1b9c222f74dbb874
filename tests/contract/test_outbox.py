"""Outcomes on disk: when they go there, who delivers them, and what is refused. Real files, real Redis."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from appliance.errors import QueueUnavailable, StateUnusable
from appliance.loops.aside import Aside
from appliance.loops.keeper import Keeper
from appliance.loops.redelivery import Redelivery
from appliance.process.work import Died, Failed, Outcome, Returned, Succeeded
from appliance.queue.broker import Ask, Broker
from appliance.queue.connection import Channel
from appliance.queue.message import Task
from appliance.queue.outbox import Journal, Outbox
from appliance.queue.record import Kept, encode
from appliance.queue.settlement import Settlement
from harness import asynq
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed
from tests.contract.test_upkeep import HandClock

HERE = "127.0.0.1:1/0"


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_800_000_000)


@pytest.fixture
def dead(channel: Channel) -> Broker:
    """The worker whose outcomes are on disk."""
    return Broker(channel, "dead", 30, keep_results=True)


@pytest.fixture
def redelivery(tmp_path: Path, broker: Broker, clock: HandClock) -> Redelivery:
    return Redelivery(tmp_path, {(HERE, QUEUE): broker}, clock)


def take(broker: Broker) -> Task:
    (task,) = broker.exchange([], [Ask(QUEUE, 1)]).taken[0].tasks
    return task


def outcome_of(task: Task, outcome: Outcome) -> Settlement:
    return POLICY.settle(task, outcome, 1_800_000_000)


def leave(folder: Path, *settlements: Settlement, redis: str = HERE) -> Path:
    """A dead worker's file with these."""
    journal = Journal.create(folder, "dead")
    journal.append(b"".join(encode(Kept(redis, one, 1_799_999_900)) for one in settlements))
    journal.close()
    return journal.path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Keeping -------------------------------------------------------------------------------------------


@pytest.fixture
def waiting() -> list[Settlement]:
    """Outcomes that wait for Redis."""
    return []


@pytest.fixture
def make_keeper(
    tmp_path: Path, waiting: list[Settlement], clock: HandClock
) -> Callable[..., tuple[Keeper, Path]]:
    def make(**options: int) -> tuple[Keeper, Path]:
        folder = tmp_path / "state"
        outbox = Outbox(folder, "me", **options)
        return Keeper(outbox, lambda: [(HERE, one) for one in waiting], clock), folder

    return make


@pytest.fixture
def three(broker: Broker, db: redis.Redis) -> list[Settlement]:
    seed(db, "a", "b", "c")
    return [outcome_of(take(broker), Succeeded(b'"r"')) for _ in range(3)]


def on_disk(path: Path) -> set[str]:
    """Ids of the tasks in the only file there; its lock is left alone."""
    (file,) = path.iterdir()
    fd = os.open(file, os.O_RDWR)
    journal = Journal(file, fd)
    try:
        return {kept.settlement.lease.task_id for kept in journal.read().kept}
    finally:
        journal.close()


def test_while_redis_answers_nothing_touches_the_disk(
    make_keeper: Callable[..., tuple[Keeper, Path]], waiting: list[Settlement], three: list[Settlement]
) -> None:
    keeper, folder = make_keeper()
    for outcome in three:
        waiting[:] = [outcome]
        keeper.tick()
    waiting.clear()
    keeper.tick()
    assert not folder.exists()


def test_an_outcome_seen_twice_is_on_disk_for_its_owner_only_until_redis_has_it(
    make_keeper: Callable[..., tuple[Keeper, Path]], waiting: list[Settlement], three: list[Settlement]
) -> None:
    keeper, folder = make_keeper()
    waiting[:] = three
    keeper.tick()
    keeper.tick()
    assert on_disk(folder) == {"a", "b", "c"}
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]
    assert keeper.size_bytes == sum(path.stat().st_size for path in folder.iterdir())

    del waiting[0]
    keeper.tick()
    assert on_disk(folder) == {"b", "c"}

    waiting.clear()
    keeper.tick()
    assert files(folder) == []
    assert keeper.size_bytes == 0


def test_at_the_end_everything_that_waits_is_kept_at_once(
    make_keeper: Callable[..., tuple[Keeper, Path]], waiting: list[Settlement], three: list[Settlement]
) -> None:
    keeper, folder = make_keeper()
    waiting[:] = three
    with capture_logs() as events:
        keeper.last(5)
    assert on_disk(folder) == {"a", "b", "c"}
    assert [event["tasks"] for event in events if event["event"] == "outbox.kept"] == [["a", "b", "c"]]


def test_what_does_not_fit_stays_in_memory_and_is_said_once(
    make_keeper: Callable[..., tuple[Keeper, Path]], waiting: list[Settlement], three: list[Settlement]
) -> None:
    line = len(encode(Kept(HERE, three[0], 1_800_000_000)))
    keeper, folder = make_keeper(largest_bytes=2 * line + 10)
    waiting[:] = three
    with capture_logs() as events:
        for _ in range(4):
            keeper.tick()
    assert len(on_disk(folder)) == 2
    assert [event["in_memory_only"] for event in events if event["event"] == "outbox.full"] == [1]


def test_a_folder_that_cannot_be_written_is_said_once_and_tried_again(
    make_keeper: Callable[..., tuple[Keeper, Path]], waiting: list[Settlement], three: list[Settlement]
) -> None:
    keeper, folder = make_keeper()
    folder.write_text("a file stands in the way")
    waiting[:] = three
    with capture_logs() as events:
        for _ in range(3):
            keeper.tick()
        folder.unlink()
        keeper.tick()
    assert [event["event"] for event in events] == ["outbox.unusable", "outbox.usable_again"]
    assert on_disk(folder) == {"a", "b", "c"}


def test_an_append_that_failed_in_the_middle_leaves_whole_lines(
    tmp_path: Path, three: list[Settlement], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(tmp_path, "me")
    first, second, third = (encode(Kept(HERE, one, 1.0)) for one in three)
    journal.append(first)

    def half(fd: int, data: bytes, at: int) -> int:
        if len(data) < len(second):
            raise OSError(28, "No space left on device")
        return real(fd, bytes(data)[: len(data) // 2], at)

    real = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", half)
        with pytest.raises(StateUnusable, match="the disk is full"):
            journal.append(second)
    assert journal.path.read_bytes() == first
    journal.append(third)
    assert journal.path.read_bytes() == first + third


def test_a_disk_that_hangs_holds_nobody_up_and_is_not_written_by_two(
    tmp_path: Path, three: list[Settlement], clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, at_work = threading.Event(), []

    def slow(_fd: int) -> None:
        at_work.append(1)
        answers.wait(10)

    outbox = Outbox(tmp_path, "me")
    keeper = Keeper(outbox, lambda: [(HERE, one) for one in three], clock, Aside(limit_s=0.05))
    monkeypatch.setattr(os, "fsync", slow)
    with capture_logs() as events:
        for _ in range(4):
            keeper.tick()
        assert len(at_work) == 1
        answers.set()
        keeper.tick()
    assert [event["event"] for event in events] == ["outbox.unusable", "outbox.usable_again"]
    assert on_disk(tmp_path) == {"a", "b", "c"}


# Delivering ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "place"),
    [
        (Succeeded(b'"r"'), "completed"),
        (Died("SIGSEGV"), "retry"),
        (Failed("no", retry=False), "archived"),
        (Returned("stopping"), "pending"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_dead_worker_left_is_settled_in_its_name_once(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis, outcome: Outcome, place: str
) -> None:
    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), outcome))
    with capture_logs() as events:
        redelivery.tick()
        redelivery.tick()
    assert asynq.where_is(db, QUEUE, "a") == place
    assert files(tmp_path) == []
    assert [(e["event"], e["task_id"], e["owner"]) for e in events] == [("outbox.delivered", "a", "dead")]


def test_a_lease_that_ran_out_is_no_matter_while_nobody_has_taken_the_task(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis
) -> None:
    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), Succeeded(b'"r"')))
    db.zadd(f"{PREFIX}lease", {"a": 1})
    redelivery.tick()
    assert asynq.where_is(db, QUEUE, "a") == "completed"


def test_what_somebody_else_has_by_now_is_refused_and_not_settled_twice(
    redelivery: Redelivery, dead: Broker, other: Broker, tmp_path: Path, db: redis.Redis
) -> None:
    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), Succeeded(b'"late"')))
    db.zadd(f"{PREFIX}lease", {"a": 1})
    (recovered,) = other.expired(QUEUE).tasks
    other.settle_expired([outcome_of(recovered, Died("lease"))])

    with capture_logs() as events:
        redelivery.tick()

    assert asynq.where_is(db, QUEUE, "a") == "retry"
    assert db.hget(f"{PREFIX}t:a", "result") is None
    assert [(e["event"], e["verdict"]) for e in events] == [("outbox.refused", "lost")]
    assert files(tmp_path) == []


def test_a_living_workers_file_is_left_alone(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis
) -> None:
    seed(db, "a")
    living = Outbox(tmp_path, "alive")
    living.mirror([Kept(HERE, outcome_of(take(dead), Succeeded(b"1")), 1.0)])
    redelivery.tick()
    assert asynq.where_is(db, QUEUE, "a") == "active"
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("where", ["another Redis", "another queue"])
def test_what_is_not_ours_stays_and_is_named_once_with_its_age(
    redelivery: Redelivery,
    dead: Broker,
    broker: Broker,
    tmp_path: Path,
    db: redis.Redis,
    clock: HandClock,
    where: str,
) -> None:
    seed(db, "a", "b")
    ours, theirs = (outcome_of(take(dead), Succeeded(b"1")) for _ in range(2))
    redis_name = HERE
    if where == "another Redis":
        redis_name = "elsewhere:1/0"
    else:
        theirs = theirs._replace(lease=theirs.lease._replace(queue="other.default"))  # type: ignore[union-attr]
    leave(tmp_path, theirs, redis=redis_name)
    leave(tmp_path, ours)

    with capture_logs() as events:
        redelivery.tick()
        redelivery.tick()

    (said,) = [event for event in events if event["event"] == "outbox.not_ours"]
    assert (said["tasks"], said["redis"], said["oldest_s"]) == (1, [redis_name], 100)
    assert asynq.where_is(db, QUEUE, "a") == "completed"
    assert asynq.where_is(db, QUEUE, "b") == "active"
    assert len(files(tmp_path)) == 1

    queue = "other.default" if where == "another queue" else QUEUE
    Redelivery(tmp_path, {(redis_name, queue): broker}, clock).tick()
    assert files(tmp_path) == []


def test_of_a_file_that_is_ours_in_part_only_the_rest_stays(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis
) -> None:
    seed(db, "a")
    settlement = outcome_of(take(dead), Succeeded(b"1"))
    path = leave(tmp_path, settlement)
    foreign = settlement._replace(lease=settlement.lease._replace(task_id="x"))  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes() + encode(Kept("elsewhere", foreign, 1.0)) + b"0123 torn")
    redelivery.tick()
    assert asynq.where_is(db, QUEUE, "a") == "completed"
    assert on_disk(tmp_path) == {"x"}


def test_a_damaged_line_is_named_and_set_aside_and_the_others_are_delivered(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis
) -> None:
    seed(db, "a", "b")
    path = leave(tmp_path, *(outcome_of(take(dead), Succeeded(b"1")) for _ in range(2)))
    first, second, _ = path.read_bytes().split(b"\n")
    damaged = first.replace(b"Complete", b"Incomplete")
    path.write_bytes(damaged + b"\n" + second + b"\n")

    with capture_logs() as events:
        redelivery.tick()

    assert asynq.where_is(db, QUEUE, "b") == "completed"
    (said,) = [event for event in events if event["event"] == "outbox.unreadable"]
    aside = Path(said["kept_in"])
    assert (said["lines"], aside.read_bytes()) == (1, damaged + b"\n")
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert files(tmp_path) == [aside.name]


def test_a_redis_that_goes_away_meanwhile_costs_nothing(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), Succeeded(b"1")))

    def away(*_: object) -> None:
        raise QueueUnavailable("the test says so")

    with monkeypatch.context() as patched, capture_logs() as events:
        patched.setattr(Channel, "batch", away)
        redelivery.tick()
    assert [event["event"] for event in events] == ["outbox.undelivered"]
    redelivery.tick()
    assert asynq.where_is(db, QUEUE, "a") == "completed"
