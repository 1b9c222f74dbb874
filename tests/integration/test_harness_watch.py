"""``runqy-harness result`` and ``watch`` as programs: what they print, and the statuses they end with."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.redis import RedisServer
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.server.keys import Keys
from tests.integration.program import HARNESS, program

Q = "inference.default"
KEY = "one-for-all"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def db(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[FakeServer]:
    queue = QueueConfig(name="inference", git_url="unused://")
    with FakeServer(redis_server.url, [queue], keys=Keys(client=KEY, admin=KEY)) as running:
        yield running


def harness(server: FakeServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RUNQY_SERVER_URL": server.url, "RUNQY_CLIENT_KEY": KEY}
    return subprocess.run(
        [*HARNESS, *arguments], capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def put(db: redis.Redis, state: str, **fields: str) -> str:
    """A task that is in ``state``."""
    # The server tells errors from the message.
    task = NewTask({"n": 1}, message={"error_msg": fields.get("error_msg", "")})
    asynq.write_lookup(db, Q, task.id)
    if state == "pending":
        return asynq.seed_pending(db, Q, task)[0]
    asynq.seed_pending(db, Q, task)
    db.lrem(asynq.key(Q, "pending"), 0, task.id)
    db.zadd(asynq.key(Q, state), {task.id: time.time() + 600})
    db.hset(asynq.task_key(Q, task.id), mapping={"state": state, **fields})
    return task.id


# result --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "fields", "status", "result", "error"),
    [
        ("completed", {"result": '{"x": 1}'}, 0, {"x": 1}, None),
        ("archived", {"error_msg": "boom"}, 3, None, "boom"),
        ("pending", {}, 5, None, "not over in time; no error so far"),
    ],
)
def test_a_result_is_a_line_of_json_and_a_status(
    server: FakeServer, db: redis.Redis, state: str, fields: dict[str, str], status: int, result: object,
    error: str | None,
) -> None:  # fmt: skip
    task_id = put(db, state, **fields)
    done = harness(server, "result", task_id, "--wait-timeout=0")
    assert done.returncode == status, done.stderr
    assert json.loads(done.stdout) == {"task_id": task_id, "state": state, "result": result, "error": error}


def test_a_task_that_there_is_not_has_a_status_of_its_own(server: FakeServer) -> None:
    done = harness(server, "result", "no-such-task")
    assert (done.returncode, json.loads(done.stdout)["state"], done.stderr) == (4, "unknown", "")


def test_a_result_is_waited_for(server: FakeServer, db: redis.Redis, tmp_path: Path) -> None:
    task_id = put(db, "pending")
    env = {"RUNQY_SERVER_URL": server.url, "RUNQY_CLIENT_KEY": KEY}
    with program(tmp_path / "program", "result", task_id, env=env) as waiting:
        wait.until(lambda: len(server.requests_to(f"/queue/{task_id}")) > 1, 60, "it to wait", waiting.said)
        assert waiting.process.poll() is None
        db.hset(asynq.task_key(Q, task_id), mapping={"state": "completed", "result": "17"})
        assert waiting.process.wait(60) == 0
        assert json.loads(waiting.out)["result"] == 17


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["result"], "the following arguments are required: TASK_ID"),
        (["result", "a/b"], "TASK_ID 'a/b': expected the id of a task"),
        (
            ["result", "a", "--wait-timeout=soon"],
            "--wait-timeout: 'soon': expected a whole number",
        ),
        (["result", "a", "--server=nowhere"], "--server: 'nowhere': expected http://"),
        (["watch", "--for=0"], "--for: '0': expected a whole number, 1 or more"),
        (["watch", "--forever"], "unrecognized arguments: --forever"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line(
    server: FakeServer, arguments: list[str], problem: str
) -> None:
    done = harness(server, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"runqy-harness {arguments[0]}: {problem}" in done.stderr


# A task needs no key: its id is one.
@pytest.mark.parametrize(
    ("arguments", "trouble"), [(["result", "some-id"], "down"), (["watch"], "down"), (["watch"], "key")]
)
def test_a_server_that_cannot_be_asked_is_one_line(
    server: FakeServer, arguments: list[str], trouble: str
) -> None:
    if trouble == "down":
        server.stop()
    done = harness(server, *arguments, *(["--key=wrong"] if trouble == "key" else []))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"runqy-harness {arguments[0]}: {server.url}")


# watch ---------------------------------------------------------------------------------------------------


def beat(db: redis.Redis, **fields: str) -> None:
    db.zadd("asynq:workers", {"w1": time.time() + 1800})
    fields = {"status": "running", "healthy": "1", "last_beat": str(int(time.time())), **fields}
    db.hset("asynq:workers:w1", mapping={"worker_id": "w1", "queues": "map[]", **fields})


def test_what_changes_is_told_in_lines_until_no_task_is_left(
    server: FakeServer, db: redis.Redis, tmp_path: Path
) -> None:
    old = put(db, "completed", result='"old"')
    waits = put(db, "pending")
    beat(db)
    env = {"RUNQY_SERVER_URL": server.url, "RUNQY_CLIENT_KEY": KEY}
    with program(tmp_path / "program", "watch", "--until-empty", env=env) as watching:
        watching.shows("worker w1  running, healthy")
        watching.shows(f"queue {Q}  1 pending, 0 active, 0 scheduled, 0 retry, 1 completed, 0 archived")
        recovery = '{"inference": {"state": "recovering", "consecutive_fails": 1, "total_restarts": 2}}'
        beat(db, healthy="0", recovery=recovery)
        failed = put(db, "archived", error_msg="boom")
        watching.shows("worker w1  running, not healthy, inference recovering (2 restarts)")
        watching.shows(f"task {failed}  {Q}  archived  boom")
        beat(db, quiet="1", recovery="{}")
        watching.shows("worker w1  running, healthy, quiet\n")
        running = asynq.seed_active(db, Q, NewTask({}), lease_until_s=time.time() + 600)[0]
        for done in (1, 2):
            said = {"at_ms": 1, "attempt": 1, "progress": {"done": done, "of": 4}}
            db.hset(asynq.task_key(Q, running), "progress", json.dumps(said))
            watching.shows(f"task {running}  {Q}  active  {done} of 4 ({done * 25} %)")
        asynq.delete(db, Q, running)
        db.delete("asynq:workers:w1")
        watching.shows("worker w1  gone")
        assert watching.process.poll() is None
        db.lrem(asynq.key(Q, "pending"), 0, waits)
        assert watching.process.wait(60) == 0
        assert old not in watching.out
        assert "\x1b" not in watching.out
        assert watching.out.count("worker w1  running, healthy\n") == 1


def test_of_a_flood_of_tasks_it_is_said_how_many(server: FakeServer, db: redis.Redis, tmp_path: Path) -> None:
    waits = put(db, "pending")
    env = {"RUNQY_SERVER_URL": server.url, "RUNQY_CLIENT_KEY": KEY}
    with program(tmp_path / "program", "watch", "--until-empty", env=env) as watching:
        watching.shows("1 pending")
        tasks = [NewTask({}) for _ in range(150)]
        asynq.seed_completed(db, Q, *tasks, purge_at_s=time.time() + 600)
        watching.shows("… and 130 more tasks ended")
        db.lrem(asynq.key(Q, "pending"), 0, waits)
        assert watching.process.wait(60) == 0


@pytest.mark.parametrize(("arguments", "status"), [(["--for=1"], 0), (["--for=1", "--until-empty"], 5)])
def test_watching_ends_when_its_time_is_up(
    server: FakeServer, db: redis.Redis, arguments: list[str], status: int
) -> None:
    put(db, "pending")
    done = harness(server, "watch", *arguments)
    assert (done.returncode, done.stderr) == (status, "")


def test_ctrl_c_is_the_way_to_end_a_watch(server: FakeServer, db: redis.Redis, tmp_path: Path) -> None:
    put(db, "pending")
    env = {"RUNQY_SERVER_URL": server.url, "RUNQY_CLIENT_KEY": KEY}
    with program(tmp_path / "program", "watch", env=env) as watching:
        watching.shows("1 pending")
        assert watching.end(signal.SIGINT) == 0
        assert watching.err == ""


def test_a_terminal_gets_a_picture_that_is_drawn_anew(server: FakeServer, db: redis.Redis) -> None:
    put(db, "pending")
    beat(db)
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        **{"RUNQY_SERVER_URL": server.url, "RUNQY_CLIENT_KEY": KEY, "COLUMNS": "110", "LINES": "30"},
    }
    os.set_blocking(ours, False)
    seen = b""

    def over() -> bool:
        nonlocal seen
        # Nothing to read so far, or the end, which a pseudo-terminal tells by an error.
        with contextlib.suppress(OSError):
            seen += os.read(ours, 65_536)
        return watching.poll() is not None

    with subprocess.Popen([*HARNESS, "watch", "--for=1"], stdout=theirs, env=environment) as watching:
        wait.until(over, 60, "the watch to end", seen.decode)
        over()
    os.close(theirs)
    os.close(ours)
    assert watching.returncode == 0
    text = seen.decode()
    assert "WORKER" in text
    assert "w1      running, healthy" in text
    assert f"{Q}          1          0" in text
    assert "\x1b[8A" in text, "the second picture is drawn over the first"
