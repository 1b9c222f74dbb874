"""Outcomes on disk: when they go there, who delivers them, and what is refused. Real files, real Redis."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from appliance.dispatch.large import MOST_REFUSALS
from appliance.errors import QueueUnavailable, StateUnusable
from appliance.loops.aside import Aside
from appliance.loops.keeper import LOOK_EVERY_S, TROUBLE_DELAY_S, Keeper
from appliance.loops.looks import LONGEST_S
from appliance.loops.looks import LOOK_EVERY_S as DELIVERS_EVERY_S
from appliance.loops.redelivery import Redelivery
from appliance.process.outcome import Crashed, Failed, Outcome, Returned, Succeeded
from appliance.queue import record
from appliance.queue.broker import Broker
from appliance.queue.connection import Channel
from appliance.queue.message import Task
from appliance.queue.outbox import LARGEST_BYTES, Journal, Outbox
from appliance.queue.record import Contents, Kept
from appliance.queue.replies import Ask
from appliance.queue.seal import Seal
from appliance.queue.settlement import Settlement
from harness.queue import asynq
from tests.clock import HandClock
from tests.contract.conftest import POLICY, PREFIX, QUEUE, seed

HERE = "127.0.0.1:1/0"
SEAL = Seal("the key")


def encode(kept: Kept) -> bytes:
    return record.encode(kept, SEAL)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_800_000_000)


@pytest.fixture
def dead(channel: Channel) -> Broker:
    """The worker whose outcomes are on disk."""
    return Broker(channel, "dead", 30, keep_results=True)


@pytest.fixture
def redelivery(tmp_path: Path, broker: Broker, clock: HandClock) -> Redelivery:
    return Redelivery(tmp_path, {(HERE, QUEUE): (broker, broker)}, clock, SEAL, POLICY)


def test_an_outcome_that_redis_never_takes_is_archived_and_holds_up_no_other(
    tmp_path: Path, dead: Broker, redelivery: Redelivery, db: redis.Redis, clock: HandClock
) -> None:
    before = db.config_get("proto-max-bulk-len")["proto-max-bulk-len"]
    seed(db, "large")
    large = outcome_of(take(dead), Succeeded(b'"%s"' % (b"x" * 2 * 1024 * 1024)))
    seed(db, "small")
    leave(tmp_path, large, outcome_of(take(dead), Succeeded(b"1")))
    db.config_set("proto-max-bulk-len", 1024 * 1024)
    try:
        redelivery.tick()
        assert asynq.where_is(db, QUEUE, "small") == "completed"
        assert asynq.where_is(db, QUEUE, "large") == "active"
        for _ in range(MOST_REFUSALS):
            clock.sleep(LONGEST_S)
            redelivery.tick()
    finally:
        db.config_set("proto-max-bulk-len", before)
    assert asynq.where_is(db, QUEUE, "large") == "archived"
    assert b"proto-max-bulk-len" in db.hget(asynq.task_key(QUEUE, "large"), "error_msg")
    assert files(tmp_path) == []


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
        outbox = Outbox(folder, "me", SEAL, **options)
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
        return {kept.settlement.lease.task_id for kept in journal.read(SEAL).kept}
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


def test_at_the_end_only_what_is_on_disk_is_said_to_be_kept(
    make_keeper: Callable[..., tuple[Keeper, Path]], waiting: list[Settlement], three: list[Settlement]
) -> None:
    def said(keeper: Keeper) -> list[str]:
        with capture_logs() as events:
            keeper.last(5)
        return [event["event"] for event in events]

    keeper, folder = make_keeper(largest_bytes=10)
    assert said(keeper) == []
    waiting[:] = three
    assert said(keeper) == ["outbox.full"]
    keeper, folder = make_keeper()
    folder.write_text("a file stands in the way")
    assert said(keeper) == ["outbox.unusable"]


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
        waits_s = [keeper.tick() for _ in range(3)]
        folder.unlink()
        keeper.tick()
    assert waits_s == [LOOK_EVERY_S, TROUBLE_DELAY_S, TROUBLE_DELAY_S]
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

    outbox = Outbox(tmp_path, "me", SEAL)
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
        (Crashed("SIGSEGV"), "retry"),
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
    (recovered,) = other.lapsed(QUEUE).tasks
    other.settle_lapsed([outcome_of(recovered, Crashed("lease"))])

    with capture_logs() as events:
        redelivery.tick()

    assert asynq.where_is(db, QUEUE, "a") == "retry"
    assert db.hget(f"{PREFIX}t:a", "result") is None
    assert [(e["event"], e["fence_reply"]) for e in events] == [("outbox.refused", "lost")]
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("keeps_results", "outcome", "said"),
    [
        (False, Succeeded(b'"r"'), "outbox.task_gone"),
        (False, Failed("x", retry=True), "outbox.refused"),
        (True, Succeeded(b'"r"'), "outbox.refused"),
    ],
)
def test_a_task_that_is_gone_is_no_refusal_only_where_its_completion_would_have_removed_it(
    channel: Channel,
    dead: Broker,
    clock: HandClock,
    tmp_path: Path,
    db: redis.Redis,
    keeps_results: bool,
    outcome: Outcome,
    said: str,
) -> None:
    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), outcome))
    db.delete(f"{PREFIX}t:a", f"{PREFIX}active", f"{PREFIX}lease")
    ours = Broker(channel, "me", 30, keep_results=keeps_results)

    with capture_logs() as events:
        Redelivery(tmp_path, {(HERE, QUEUE): (ours, ours)}, clock, SEAL, POLICY).tick()

    assert [event["event"] for event in events] == [said]
    assert files(tmp_path) == []


def test_a_living_workers_file_is_left_alone(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis
) -> None:
    seed(db, "a")
    living = Outbox(tmp_path, "alive", SEAL)
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
    Redelivery(tmp_path, {(redis_name, queue): (broker, broker)}, clock, SEAL, POLICY).tick()
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
    content = first.replace(b"Complete", b"Incomplete") + b"\n" + second + b"\n"
    path.write_bytes(content)

    with capture_logs() as events:
        redelivery.tick()

    assert asynq.where_is(db, QUEUE, "b") == "completed"
    (said,) = [event for event in events if event["event"] == "outbox.unreadable"]
    aside = Path(said["kept_in"])
    assert (said["lines"], aside.read_bytes()) == (1, content)
    assert said["reasons"] == ["line 1: it is damaged, or no worker has written it"]
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert files(tmp_path) == [aside.name]


def test_what_workers_with_another_api_key_left_waits_for_them_and_is_named_once(
    redelivery: Redelivery, dead: Broker, broker: Broker, tmp_path: Path, db: redis.Redis, clock: HandClock
) -> None:
    seed(db, "a", "b")
    ours, theirs = (outcome_of(take(dead), Succeeded(b"1")) for _ in range(2))
    path = leave(tmp_path, ours)
    old = record.encode(Kept(HERE, theirs, 1.0), Seal("the key before"))
    path.write_bytes(path.read_bytes() + old)

    with capture_logs() as events:
        redelivery.tick()
        redelivery.tick()

    assert asynq.where_is(db, QUEUE, "a") == "completed"
    (said,) = [event for event in events if event["event"] == "outbox.other_api_key"]
    assert (said["lines"], said["file"]) == (1, path.name)
    assert "RUNQY_PREVIOUS_API_KEY" in said["consequence"]
    assert asynq.where_is(db, QUEUE, "b") == "active"

    rotated = Seal("the key", previous="the key before")
    Redelivery(tmp_path, {(HERE, QUEUE): (broker, broker)}, clock, rotated, POLICY).tick()
    assert asynq.where_is(db, QUEUE, "b") == "completed"
    assert files(tmp_path) == []


def test_a_file_of_another_version_is_left_alone_and_named_once(
    redelivery: Redelivery, tmp_path: Path
) -> None:
    names = ["w-1.outbox", "w-2.outbox3"]
    for name in (*names, "notes.txt", "w-3.outbox2.unreadable"):
        (tmp_path / name).write_text("whatever\n")
    with capture_logs() as events:
        redelivery.tick()
        redelivery.tick()
    assert [(event["event"], event["file"]) for event in events] == [
        ("outbox.other_version", name) for name in names
    ]
    assert len(files(tmp_path)) == 4


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 8 * 2**30)


def _one_long_line(path: Path) -> None:
    path.touch()
    os.truncate(path, LARGEST_BYTES + 2)


NO_JOURNALS: dict[str, Callable[[Path], object]] = {
    "a file of gigabytes": _sparse,
    "a line without an end": _one_long_line,
    "a link": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": _fifo,
}


@pytest.mark.parametrize("what", NO_JOURNALS)
def test_what_no_worker_wrote_is_set_aside_unread_and_named_and_the_others_are_delivered(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis, what: str
) -> None:
    seed(db, "a")
    NO_JOURNALS[what](tmp_path / "a-first.outbox2")
    (tmp_path / "a-first.outbox2.unreadable").touch()
    leave(tmp_path, outcome_of(take(dead), Succeeded(b"1")))

    with capture_logs() as events:
        redelivery.tick()
        redelivery.tick()

    assert asynq.where_is(db, QUEUE, "a") == "completed"
    (said,) = [event for event in events if event["event"] == "outbox.unreadable"]
    assert said["kept_in"] == str(tmp_path / "a-first.outbox2.unreadable-1")
    assert files(tmp_path) == ["a-first.outbox2.unreadable", "a-first.outbox2.unreadable-1"]


def test_a_file_with_nothing_for_this_worker_is_read_once_until_it_changes(
    redelivery: Redelivery,
    dead: Broker,
    tmp_path: Path,
    db: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seed(db, "a")
    settlement = outcome_of(take(dead), Succeeded(b"1"))
    path = leave(tmp_path, settlement, redis="elsewhere:1/0")
    read, reads = Journal.read, []

    def counted(journal: Journal, seal: Seal) -> record.Contents:
        reads.append(journal.path)
        return read(journal, seal)

    monkeypatch.setattr(Journal, "read", counted)
    for _ in range(3):
        redelivery.tick()
    assert len(reads) == 1

    path.write_bytes(path.read_bytes() + encode(Kept(HERE, settlement, 1.0)))
    redelivery.tick()
    assert len(reads) == 2
    assert asynq.where_is(db, QUEUE, "a") == "completed"


def test_a_redis_that_goes_away_meanwhile_costs_nothing(
    redelivery: Redelivery,
    dead: Broker,
    tmp_path: Path,
    db: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    clock: HandClock,
) -> None:
    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), Succeeded(b"1")))

    def away(*_: object) -> None:
        raise QueueUnavailable("the test says so")

    with monkeypatch.context() as patched, capture_logs() as events:
        patched.setattr(Channel, "batch", away)
        redelivery.tick()
    assert [event["event"] for event in events] == ["outbox.undelivered"]
    clock.sleep(DELIVERS_EVERY_S)
    redelivery.tick()
    assert asynq.where_is(db, QUEUE, "a") == "completed"


# Files that stay -----------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, each time."""
    seen: list[Path] = []
    read = Journal.read

    def spy(journal: Journal, seal: Seal) -> Contents:
        seen.append(journal.path)
        return read(journal, seal)

    monkeypatch.setattr(Journal, "read", spy)
    return seen


def test_a_file_that_stays_as_it_is_is_read_ever_more_seldom(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis, reads: list[Path], clock: HandClock
) -> None:
    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), Succeeded(b"1")))
    db.rename(asynq.key(QUEUE, "lease"), "aside")
    db.set(asynq.key(QUEUE, "lease"), "of another program")

    for _ in range(120):
        redelivery.tick()
        clock.sleep(DELIVERS_EVERY_S)

    assert 8 < len(reads) < 16  # in ten minutes; it was 120
    db.rename("aside", asynq.key(QUEUE, "lease"))
    clock.sleep(LONGEST_S)
    redelivery.tick()
    assert asynq.where_is(db, QUEUE, "a") == "completed"
    assert files(tmp_path) == []


def test_a_file_for_another_queue_is_read_once(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis, reads: list[Path], clock: HandClock
) -> None:
    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), Succeeded(b"1")), redis="elsewhere:6379/0")

    for _ in range(20):
        redelivery.tick()
        clock.sleep(LONGEST_S)

    assert len(reads) == 1


def test_what_is_left_when_most_of_a_file_was_delivered_stands_in_a_small_one(
    redelivery: Redelivery, dead: Broker, tmp_path: Path, db: redis.Redis, clock: HandClock
) -> None:
    seed(db, "mine", "other")
    mine = outcome_of(take(dead), Succeeded(b'"%s"' % (b"x" * 1_000_000)))
    other = outcome_of(take(dead), Succeeded(b"2"))
    large = leave(tmp_path, mine)
    with large.open("ab") as file:
        file.write(encode(Kept("elsewhere:6379/0", other, 1_799_999_900)))
        file.write(b"damaged\n")

    redelivery.tick()

    assert asynq.where_is(db, QUEUE, "mine") == "completed"
    (left,) = tmp_path.iterdir()
    assert left.stat().st_size < 2000
    journal = Journal.adopt(left)
    assert journal is not None
    contents = journal.read(SEAL)
    assert [kept.settlement for kept in contents.kept] == [other]
    assert contents.damaged == 1
    journal.close()


def test_while_one_outcome_stays_the_file_of_its_worker_does_not_grow(
    tmp_path: Path, dead: Broker, db: redis.Redis
) -> None:
    outbox = Outbox(tmp_path, "me", SEAL)
    seed(db, *map(str, range(40)))
    stays, *others = (outcome_of(take(dead), Succeeded(b'"%s"' % (b"x" * 100_000))) for _ in range(40))
    largest = 0
    for other in others:
        assert outbox.mirror([Kept(HERE, stays, 1.0), Kept(HERE, other, 1.0)]) == 0
        largest = max(largest, outbox.size_bytes)
        assert [path.stat().st_size for path in tmp_path.iterdir()] == [outbox.size_bytes]

    assert outbox.mirror([Kept(HERE, stays, 1.0)]) == 0
    assert largest < 10 * 140_000  # all of them are forty times as much
    assert outbox.mirror([]) == 0
    assert files(tmp_path) == []


def test_large_outcomes_wait_for_a_connection_that_has_time_for_them(
    tmp_path: Path, broker: Broker, other: Broker, dead: Broker, db: redis.Redis, clock: HandClock
) -> None:
    class Quick:
        """Has no time for large ones."""

        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    seed(db, "a")
    leave(tmp_path, outcome_of(take(dead), Succeeded(b'"%s"' % (b"x" * 1_000_000))))
    redelivery = Redelivery(tmp_path, {(HERE, QUEUE): (Quick(), broker)}, clock, SEAL, POLICY)  # type: ignore[dict-item]

    redelivery.first()
    assert asynq.where_is(db, QUEUE, "a") == "active"
    redelivery.tick()
    assert asynq.where_is(db, QUEUE, "a") == "completed"
