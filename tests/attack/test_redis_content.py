"""The attacker writes to Redis: whatever he leaves there costs no other task its turn, is named, and is no
terminal's command where people read of it."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from harness import wait
from harness.queue import asynq
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration import world as worlds
from tests.integration.world import QUEUE, World

#: What a terminal or its reader would follow: title, clear, C1, bidi, zero width, line break.
CONTROL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u200b\r\n2026-01-01 [error] forged"
NESTED = b"[" * 100_000 + b"]" * 100_000
LEGACY = {"state": "pending", "type": "t", "payload": "{}"}
NUMBERS = ("retried", "max_retry", "timeout", "pending_since", "ttl_completed", "ttl_archived")

Leave = Callable[[redis.Redis, bytes], object]


def _hash(**fields: Any) -> Leave:
    return lambda db, key: db.hset(key, mapping=LEGACY | fields)


#: What is left at a task's key.
HOSTILE: dict[str, Leave] = {
    "string": lambda db, key: db.set(key, "not a hash"),
    "list": lambda db, key: db.rpush(key, "x"),
    "stream": lambda db, key: db.xadd(key, {"a": "b"}),
    "message-is-junk": _hash(msg=b"\xff\xfe\x00junk"),
    "neither-form": lambda db, key: db.hset(key, mapping={"state": "pending", "x": "y"}),
    "retried-is-a-text": _hash(retried="many"),
    "a-stamp-is-a-text": _hash(ttl_completed=CONTROL),
    "id-is-no-utf8\xff": _hash(),
    "attempt-is-a-text": _hash(attempt="x"),
    "attempt-overflows": _hash(attempt=str(2**63 - 1)),
    "numbers-are-huge": _hash(**dict.fromkeys(NUMBERS, "9" * 300)),
    "numbers-are-negative": _hash(**dict.fromkeys(NUMBERS, "-5")),
    "nested": _hash(payload=NESTED),
    "no-json": _hash(type=CONTROL, payload=b"\xff"),
    "state-is-junk": _hash(state=CONTROL),
}
DROPPED = {"string", "list", "stream"}
ARCHIVED = {
    "message-is-junk",
    "neither-form",
    "retried-is-a-text",
    "a-stamp-is-a-text",
    "id-is-no-utf8\xff",
}


def _id(name: str) -> bytes:
    return name.encode("latin-1") + CONTROL.encode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One whose counters are broken, too."""
    with worlds.world(tmp_path_factory.mktemp("world")) as fresh:
        fresh.serve("raw_echo")
        fresh.db.set(asynq.key(QUEUE, "processed"), "many")
        fresh.db.zadd(asynq.key(QUEUE, "ended_early"), {b"\xc1junk": 1, CONTROL: 1})
        yield fresh


@pytest.fixture(scope="module")
def good(world: World) -> str:
    """A task behind all the hostile ones."""
    for name, leave in HOSTILE.items():
        leave(world.db, asynq.key(QUEUE, "t:").encode() + _id(name))
        world.db.lpush(asynq.key(QUEUE, "pending"), _id(name))
    (task_id,) = world.seed(1)
    return task_id


@pytest.fixture(scope="module")
def worker(world: World, good: str) -> WorkerProcess:
    started = world.worker(RUNQY_LOG_FORMAT="text")

    def is_idle() -> bool:
        waiting = [world.db.llen(asynq.key(QUEUE, place)) for place in ("pending", "active")]
        return not any(waiting) and not world.db.zcard(asynq.key(QUEUE, "lease"))

    wait.until(is_idle, 60, "every entry to be off its list", started.tail)
    return started


@pytest.fixture(scope="module")
def left_in_redis(world: World, worker: WorkerProcess) -> World:
    """Heartbeats and dossiers of workers that are none."""
    beat = {"status": "running", "queues": f"map[{QUEUE}:1]", "last_beat": int(time.time()), "healthy": 1}
    hashes = {
        "evil" + CONTROL: beat | {"recovery": NESTED},
        "texts": beat | {"last_beat": CONTROL, "concurrency": "inf"},
        "lists": beat | {"recovery": "[1]", "concurrency": "9" * 400},
    }
    for name, fields in hashes.items():
        world.db.hset(asynq.worker_key(name), mapping=fields)
    world.db.set(asynq.worker_key("string"), "no hash")
    world.db.zadd("asynq:workers", dict.fromkeys([*hashes, "string"], int(time.time()) + 60))
    sound = {
        "at": 1.0,
        "parent": "inference" + CONTROL,
        "commit": "c",
        "exit": CONTROL,
        "uptime_s": 1,
        "was_ready": True,
        "tasks": [CONTROL],
        "memory_peak_bytes": None,
        "stderr": [CONTROL],
    }
    wrong = [
        {"at": "x"},
        {"at": 1e308},
        {"at": float("nan")},
        {"stderr": 5},
        {"tasks": [1]},
        {"commit": None},
    ]
    texts = [json.dumps(sound | change) for change in wrong]
    dossiers = [NESTED, b"\xff", b"null", b"[]", *texts, json.dumps(sound)]
    world.db.rpush("asynq:crashes:w" + CONTROL, *dossiers)
    world.db.set("asynq:crashes:string", "no list")
    return world


def _is_harmless(text: str) -> None:
    assert text
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert "evil" in text
    assert not [line for line in text.split("\n") if line.startswith("2026-01-01")]


def test_no_task_waits_for_a_broken_one(world: World, worker: WorkerProcess, good: str) -> None:
    assert asynq.where_is(world.db, QUEUE, good) == "completed"
    archived = set(world.db.zrange(asynq.key(QUEUE, "archived"), 0, -1))
    assert archived == {_id(name) for name in ARCHIVED}
    completed = set(world.db.zrange(asynq.key(QUEUE, "completed"), 0, -1))
    assert completed == {_id(name) for name in HOSTILE.keys() - ARCHIVED - DROPPED} | {good.encode()}


def test_each_broken_task_is_named_once_and_no_terminal_obeys_the_log(worker: WorkerProcess) -> None:
    text = worker.log_path.read_bytes().decode()
    _is_harmless(text)
    for name in ARCHIVED | DROPPED:
        event = "task.foreign_key" if name in DROPPED else "task.undecodable"
        shown = name.replace("\xff", "\\udcff")
        assert len([line for line in text.splitlines() if event in line and f"task_id='{shown}" in line]) == 1
    assert "queue.refused" not in text
    assert "Traceback" not in text


def test_a_key_that_is_no_hash_is_left_as_it_is(world: World, worker: WorkerProcess) -> None:
    assert world.db.get(asynq.key(QUEUE, "t:").encode() + _id("string")) == b"not a hash"


def test_dossiers_that_are_none_are_named_and_the_others_shown(
    left_in_redis: World, worker: WorkerProcess
) -> None:
    done = worker.run("crashes")
    assert (done.returncode, done.stderr.count("cannot be read")) == (0, 10), done.stderr
    assert "crashes of string: Redis refused a command: WRONGTYPE" in done.stderr
    _is_harmless(done.stdout)
    _is_harmless(done.stderr)

    (crash,) = json.loads(worker.run("crashes", "--json").stdout)
    assert crash["stderr"] == [CONTROL]


def test_a_task_is_explained_beside_heartbeats_that_are_none(
    left_in_redis: World, worker: WorkerProcess, good: str
) -> None:
    left_in_redis.db.set(asynq.key("other", "pending"), "no list")
    left_in_redis.db.sadd("asynq:queues", "other")

    done = worker.run("explain", good)

    assert done.returncode == 0, done.stderr
    assert "its heartbeat cannot be read (recovery is no JSON object of states)" in done.stdout
    assert "its heartbeat cannot be read (it is no hash)" in done.stdout
    assert "concurrency is 'inf', no number" in done.stdout
    assert "cannot be read: other: Redis refused a command: WRONGTYPE" in done.stdout
    _is_harmless(done.stdout)
    data = json.loads(worker.run("explain", good, "--json").stdout)
    assert [line.partition(": ")[0] for line in data["unreadable"]] == ["asynq:workers:string", "other"]


@pytest.mark.parametrize("name", ["string", "id-is-no-utf8\xff"])
def test_a_broken_task_is_explained(left_in_redis: World, worker: WorkerProcess, name: str) -> None:
    done = worker.run("explain", _id(name).decode(errors="surrogateescape"))

    assert "Traceback" not in done.stderr
    _is_harmless(done.stdout)
