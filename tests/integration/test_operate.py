"""``runqy-harness tasks``, ``queues`` and ``workers``: what they print, do, ask and end with."""

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from harness import wait
from harness.commands import completion, queues, tasks, workers
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.queue.operations import Operations
from harness.queue.strict import reader
from harness.sandbox.cluster import RedisCluster
from harness.sandbox.redis import RedisServer
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.server.keys import Keys
from tests.integration.program import HARNESS

Q, LOW = "inference.default", "inference.low"
KEY = "one-for-all"
ERROR = "Traceback\n  line 1\nValueError: broken"
#: Colours, a title, a line break and text from right to left.
EVIL = "\x1b[31mevil\x1b]0;x\x07\u202e"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), password="a:b/c@d") as running:
        yield running


@pytest.fixture
def db(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = redis_server.client()
    client.flushall()
    yield client
    assert [str(each) for each in reader.read(client, arrive_s=0)] == []
    client.close()


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[FakeServer]:
    queue = QueueConfig(name="inference", git_url="unused://")
    with FakeServer(redis_server.url, [queue], keys=Keys(client=KEY, admin=KEY)) as running:
        yield running


class Shell:
    """Runs an action in this process, as the command line does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        self.out = self.err = ""
        self._set = monkeypatch.setattr
        monkeypatch.setenv("RUNQY_REDIS_URL", url)
        monkeypatch.delenv("RUNQY_API_KEY", raising=False)

    def run(self, module: ModuleType, *arguments: str, answer: str | None = None) -> int:
        """The exit status; ``answer`` is what a person types, None where there is no terminal."""
        out, err = io.StringIO(), io.StringIO()
        self._set(sys, "stdin", _Typed(answer))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status: Any = module.run(arguments)
            except SystemExit as exc:
                status = exc.code
        self.out, self.err = out.getvalue(), err.getvalue()
        return int(status)

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class _Typed(io.StringIO):
    def __init__(self, answer: str | None) -> None:
        super().__init__(f"{answer}\n" if answer else "")
        self._terminal = answer is not None

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer, db: redis.Redis) -> Shell:
    return Shell(monkeypatch, redis_server.url)


def seed_all(db: redis.Redis) -> None:
    soon_s, now_s = time.time() + 3600, int(time.time())
    asynq.seed_pending(db, Q, NewTask({"n": 1}, id="p"))
    asynq.seed_active(db, Q, NewTask({"n": 1}, id="a", stamps={"owner": "w1"}), lease_until_s=soon_s)
    asynq.seed_scheduled(db, Q, NewTask({"n": 1}, id="s"), due_s=soon_s)
    asynq.seed_retry(db, Q, NewTask({"n": 1}, id="r", retried=1), due_s=soon_s, error=ERROR)
    done = NewTask({"n": 1}, id="c", message={"completed_at": now_s}, stamps={"completed_at": now_s})
    asynq.seed_completed(db, Q, done, result=b'{"sum": 3}', purge_at_s=soon_s)
    asynq.seed_archived(db, LOW, NewTask({"n": 1}, id="x", retried=3), purge_at_s=soon_s, error=ERROR)


# Listing -------------------------------------------------------------------------------------------


def test_tasks_are_listed_in_stable_columns(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)
    at_ms = int(time.time() * 1000)
    progress = {"at_ms": at_ms, "attempt": 1, "progress": {"done": 3, "of": 10}}
    db.hset(asynq.task_key(Q, "a"), "progress", json.dumps(progress))

    assert shell.run(tasks, "list") == 0

    heading, *rows = shell.out.splitlines()
    assert heading.split() == ["TASK", "QUEUE", "STATE", "RETRIES", "WHEN", "NOTE"]
    at = {name: heading.index(name) for name in ("QUEUE", "STATE", "WHEN", "NOTE")}
    assert [(row[: at["QUEUE"]].strip(), row[at["STATE"] :].split()[0]) for row in rows] == [
        ("p", "pending"),
        ("a", "active"),
        ("s", "scheduled"),
        ("r", "retry"),
        ("c", "completed"),
        ("x", "archived"),
    ]
    notes = {row.split()[0]: row[at["NOTE"] :] for row in rows}
    assert notes == {
        "p": "",
        "a": "3 of 10 (30 %)",
        "s": "",
        "r": "ValueError: broken",
        "c": "",
        "x": "ValueError: broken",
    }
    assert "\x1b" not in shell.out


def test_tasks_are_chosen_by_queue_and_state(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)

    for arguments, expected in (
        (("--state", "retry"), ["r"]),
        (("--queue", LOW), ["x"]),
        (("--queue", "inference", "--state", "archived"), ["x"]),
        (("--queue", Q, "--limit", "1", "--state", "pending"), ["p"]),
        (("--queue", Q, "--state", "archived"), []),
    ):
        assert shell.run(tasks, "list", "--json", *arguments) == 0
        assert [task["task_id"] for task in shell.objects()] == expected, arguments

    assert shell.run(tasks, "list", "--queue", "inference.hgih") == 4
    assert shell.err == (
        "runqy-harness tasks list: queue inference.hgih: no task was ever sent to it; there are: "
        f"{Q}, {LOW}\n"
    )


def test_a_task_is_shown_with_all_there_is_of_it(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)
    failure = {"attempt": 1, "at": int(time.time()) - 120, "worker": "w1", "error": ERROR}
    db.hset(asynq.task_key(Q, "r"), mapping={"failures": json.dumps(failure) + "\n", "attempt": 1})
    line = {"ts": 1, "src": "stderr", "text": "working \x1b[31m", "seq": 1, "task_id": "r"}
    db.rpush(asynq.worker_key("w1") + ":logs", json.dumps(line))
    db.expire(asynq.worker_key("w1") + ":logs", 30)
    db.zadd(asynq.WORKERS, {"w1": int(time.time()) + 600})

    assert shell.run(tasks, "show", "r") == 0

    assert "state       retry" in shell.out
    assert "retries     1 of 3" in shell.out
    assert "due         in 59 min" in shell.out
    assert 'payload\n{\n  "n": 1\n}' in shell.out
    assert "attempt 1  2 min ago  w1  ValueError: broken" in shell.out
    assert "output\nworking �[31m" in shell.out
    assert shell.run(tasks, "show", "c", "--json") == 0
    (shown,) = shell.objects()
    assert (shown["state"], shown["result"], shown["output"]) == ("completed", {"sum": 3}, [])
    assert shell.run(tasks, "show", "none") == 4
    assert shell.err == "runqy-harness tasks show: task none: there is no such task (any more)\n"


def test_the_output_of_a_task_is_read_from_redis_or_from_a_workers_log(
    shell: Shell, db: redis.Redis, tmp_path: Path
) -> None:
    seed_all(db)
    events = [
        {
            "event": "process.output",
            "timestamp": "2026-11-27T10:00:00Z",
            "task_id": "a",
            "src": "stderr",
            "text": "one",
        },
        {
            "event": "process.output",
            "timestamp": "2026-11-27T10:00:01Z",
            "task_id": "b",
            "src": "stderr",
            "text": "two",
        },
        {"event": "task.completed", "task_id": "a"},
        ["process.output"],
    ]
    log = tmp_path / "worker.log"
    log.write_text("no JSON\n" + "".join(json.dumps(event) + "\n" for event in events))

    assert shell.run(tasks, "logs", "a") == 0
    assert shell.out == ""
    assert shell.run(tasks, "logs", "a", "--json", "--log", str(log)) == 0
    assert [line["text"] for line in shell.objects()] == ["one"]
    assert shell.run(tasks, "logs", "a", "--log", str(tmp_path / "none")) == 1
    assert "No such file" in shell.err


def test_queues_are_listed_with_depths_and_intake(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)
    assert shell.run(queues, "pause", LOW) == 0

    assert shell.run(queues, "list") == 0

    heading, *rows = [line.split() for line in shell.out.splitlines()]
    assert heading[:7] == ["QUEUE", "PENDING", "ACTIVE", "SCHEDULED", "RETRY", "COMPLETED", "ARCHIVED"]
    assert [row[:7] + row[-1:] for row in rows] == [
        [Q, "1", "1", "1", "1", "1", "0", "open"],
        [LOW, "0", "0", "0", "0", "0", "1", "paused"],
    ]
    assert shell.run(queues, "list", "--json", LOW) == 0
    (shown,) = shell.objects()
    assert (shown["queue"], shown["archived"], shown["paused"]) == (LOW, 1, True)


def test_workers_are_listed_and_shown(shell: Shell, db: redis.Redis) -> None:
    now_s = int(time.time())
    recovery = {"inference": {"state": "degraded", "consecutive_fails": 2, "total_restarts": 5}}
    metrics = {
        "cpu_percent": 7.0,
        "memory_used_bytes": 2**31,
        "memory_total_bytes": 2**32,
        "collected_at": now_s,
    }
    beat = {
        "worker_id": "w1",
        "started_at": now_s - 7200,
        "last_beat": now_s,
        "concurrency": 2,
        "queues": f"map[{Q}:3]",
        "status": "running",
        "healthy": "0",
        "recovery": json.dumps(recovery),
        "metrics": json.dumps(metrics),
    }
    db.hset(asynq.worker_key("w1"), mapping=beat)
    db.expire(asynq.worker_key("w1"), 30)
    db.zadd(asynq.WORKERS, {"w1": now_s + 1800, "w2": now_s + 600})
    db.sadd(asynq.QUEUES, Q)

    assert shell.run(workers, "list") == 0
    rows = [line.split() for line in shell.out.splitlines()]
    assert rows[1][:6] == ["w1", "not", "healthy", "degraded", "5", "2"]
    assert rows[2] == ["w2", "stale", "0"]
    assert shell.run(workers, "show", "w1") == 0
    assert "recovery  inference: degraded, 5 restarts, 2 consecutive failures" in shell.out
    assert "memory    2.0 GiB" in shell.out
    assert shell.run(workers, "list", "--json") == 0
    assert [worker["recovery"] for worker in shell.objects()] == [recovery, {}]
    assert shell.run(workers, "show", "w3") == 4


# Doing ---------------------------------------------------------------------------------------------


def test_tasks_are_retried_archived_and_deleted_by_id(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)

    assert shell.run(tasks, "retry", "x", "s") == 0
    assert shell.out == "x  retried\ns  retried\n"
    assert shell.run(tasks, "archive", "r", "--json") == 0
    assert shell.objects() == [{"task_id": "r", "queue": Q, "done": True, "said": "archived"}]
    assert shell.run(tasks, "delete", "c", "p", "--yes") == 0

    places = {task_id: asynq.where_is(db, Q, task_id) for task_id in "scrp"}
    assert places == {"s": "pending", "c": "nowhere", "r": "archived", "p": "nowhere"}
    assert asynq.where_is(db, LOW, "x") == "pending"


def test_what_is_not_possible_is_said_and_the_others_are_done(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)

    assert shell.run(tasks, "retry", "p", "x", "none") == 4

    assert shell.out == "x  retried\n"
    assert shell.err.splitlines() == [
        "task p is pending, and cannot be retried",
        "task none: there is no such task (any more)",
    ]
    assert shell.run(tasks, "delete", "--yes", "a") == 3
    assert "cannot be deleted while a worker runs it; cancel it first" in shell.err


def test_a_parent_queue_or_a_sub_queue_says_where_a_task_is(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)

    assert shell.run(tasks, "show", "p", "--queue", "inference", "--json") == 0
    assert shell.objects()[0]["queue"] == Q
    assert shell.run(tasks, "show", "p", "--queue", LOW) == 4
    assert shell.run(tasks, "archive", "p", "--queue", LOW) == 4
    assert shell.err == f"task p: there is no such task in {LOW} (any more)\n"
    assert shell.run(tasks, "archive", "p", "--queue", "inference.hgih") == 4
    assert "queue inference.hgih: no task was ever sent to it" in shell.err
    assert shell.run(tasks, "archive", "p", "--queue", "inference") == 0
    assert asynq.where_is(db, Q, "p") == "archived"


def test_a_task_without_output_is_told_from_one_there_is_not(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)

    assert (shell.run(tasks, "logs", "a"), shell.out) == (0, "")
    assert shell.run(tasks, "logs", "none") == 4
    assert "task none: there is no such task (any more)" in shell.err


def test_what_moves_on_while_the_question_is_asked_is_left_alone(
    shell: Shell, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_all(db)
    monkeypatch.setattr(
        "harness.dev.operate.tasks.confirm",
        lambda _: Operations(db).retry(Q, "r"),  # another operator
    )

    assert shell.run(tasks, "delete", "--state", "retry", "--queue", Q, answer="y") == 3

    assert "task r is pending by now, no longer retry" in shell.err
    assert asynq.where_is(db, Q, "r") == "pending"


def test_all_tasks_in_a_state_are_done_after_a_question(shell: Shell, db: redis.Redis) -> None:
    soon_s = time.time() + 3600
    ids = asynq.seed_archived(db, LOW, *(NewTask() for _ in range(7)), purge_at_s=soon_s)
    chosen = ("--state", "archived", "--queue", "inference")

    assert shell.run(tasks, "retry", *chosen, answer="no") == 6
    assert shell.err.startswith("retry 7 tasks that are archived in inference? [y/N] ")
    assert shell.err.endswith("runqy-harness tasks retry: nothing was changed\n")
    assert len(asynq.get_archived(db, LOW)) == 7
    assert shell.run(tasks, "retry", *chosen, answer="y") == 0
    assert shell.out.splitlines()[-1] == "7 tasks"
    assert set(asynq.get_pending(db, LOW)) == set(ids)


@pytest.mark.parametrize("action", ["delete", "cancel"])
def test_what_destroys_asks_first(shell: Shell, db: redis.Redis, action: str) -> None:
    seed_all(db)
    before = sorted(asynq.get_everything(db).splitlines())

    assert shell.run(tasks, action, "p", answer="") == 6
    assert f"{action} task p?" in shell.err
    assert shell.run(tasks, action, "p") == 2
    assert shell.err == f"runqy-harness tasks {action}: expected --yes: there is no terminal to ask on\n"
    assert sorted(asynq.get_everything(db).splitlines()) == before


def test_a_running_task_is_cancelled_by_the_worker_that_hears_of_it(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)
    assert shell.run(tasks, "cancel", "--yes", "a") == 3
    assert shell.err == "task a: no worker listens for tasks to cancel\n"
    listening = db.pubsub()
    listening.subscribe("asynq:cancel")

    def be_a_worker() -> None:
        while (heard := listening.get_message(timeout=30)) and heard["type"] != "message":
            pass
        assert heard is not None
        assert heard["data"] == b"a"
        with db.pipeline(transaction=True) as pipe:
            pipe.lrem(asynq.key(Q, "active"), 0, "a")
            pipe.zrem(asynq.key(Q, "lease"), "a")
            pipe.zadd(asynq.key(Q, "archived"), {"a": int(time.time()) + 60})
            pipe.hset(asynq.task_key(Q, "a"), "state", "archived")
            pipe.execute()

    worker = threading.Thread(target=be_a_worker)
    worker.start()
    wait.until(lambda: db.pubsub_numsub("asynq:cancel")[0][1], 30, "a subscription", str)
    try:
        assert shell.run(tasks, "cancel", "--yes", "a") == 0
    finally:
        worker.join()
        listening.close()
    assert shell.out == "a  cancelled, and archived now\n"
    assert shell.run(tasks, "cancel", "--yes", "p") == 3
    assert shell.err == "task p is pending, and only a running task can be cancelled; archive or delete it\n"


def test_a_task_that_does_not_end_when_it_is_cancelled_is_said(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)
    listening = db.pubsub()
    listening.subscribe("asynq:cancel")
    wait.until(lambda: db.pubsub_numsub("asynq:cancel")[0][1], 30, "a subscription", str)

    with contextlib.closing(listening):
        assert shell.run(tasks, "cancel", "--yes", "--wait-timeout", "1", "a") == 5
        assert "still active, 1 s after it was cancelled" in shell.err
        assert shell.run(tasks, "cancel", "--yes", "--wait-timeout", "0", "a") == 0
        assert shell.out == "a  its worker was told\n"


def test_queues_are_paused_and_resumed_by_sub_queue_or_parent(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)

    assert shell.run(queues, "pause", "inference") == 0
    assert shell.out == f"{Q}  paused\n{LOW}  paused\n"
    assert shell.run(queues, "pause", LOW) == 3
    assert shell.err == f"queue {LOW} is paused already\n"
    assert shell.run(queues, "resume", "inference", "--json") == 0
    assert [each["said"] for each in shell.objects()] == ["resumed", "resumed"]
    assert shell.run(queues, "resume", LOW) == 3
    assert shell.run(queues, "pause", "infer") == 4


def test_a_queue_is_drained_when_nothing_runs_and_stays_paused(shell: Shell, db: redis.Redis) -> None:
    seed_all(db)

    assert shell.run(queues, "drain", Q, "--wait-timeout", "0") == 5
    assert shell.err == f"{Q}  paused, 1 tasks still run\n"
    asynq.delete(db, Q, "a")
    assert shell.run(queues, "drain", Q, LOW) == 0
    assert shell.out == f"{Q}  paused, and nothing runs\n{LOW}  paused, and nothing runs\n"
    assert db.exists(asynq.key(Q, "paused"), asynq.key(LOW, "paused")) == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "runqy-harness tasks: no action: expected one of list, show"),
        (("lst",), "runqy-harness tasks: action 'lst': expected one of list, show"),
        (("list", "--state", "done"), "--state: invalid choice: 'done'"),
        (("retry",), "expected TASK_ID, or --state with --queue"),
        (("retry", "a", "--state", "archived"), "expected TASK_ID, or --state with --queue"),
        (("retry", "--state", "archived"), "--state archived: expected --queue beside it"),
        (("delete", "a", "--queue", "q.a", "--queue", "q.b"), "--queue: 2 given with TASK_ID, expected one"),
        (("cancel",), "expected TASK_ID"),
        (("list", "--redis-url", "http://x"), "--redis-url:"),
        (("list", "--redis-url", "redis://x/first"), "--redis-url:"),
        (("logs", "a", "--queue", "q.a"), "unrecognized arguments: --queue q.a"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_answered_in_a_line(
    shell: Shell, arguments: tuple[str, ...], problem: str
) -> None:
    assert shell.run(tasks, *arguments) == 2
    assert problem in shell.err
    assert shell.err.count("\n") == 1


def test_an_argument_that_is_no_text_is_refused(shell: Shell) -> None:
    assert shell.run(tasks, "show", os.fsdecode(b"\xff")) == 2

    assert "expected UTF-8" in shell.err


# What other programs write -------------------------------------------------------------------------


@pytest.fixture
def spoiled(db: redis.Redis) -> Iterator[redis.Redis]:
    """Another program writes there what no tool can read."""
    yield db
    db.flushall()


def test_nothing_that_terminals_obey_comes_from_redis(shell: Shell, spoiled: redis.Redis) -> None:
    db = spoiled
    asynq.seed_pending(db, Q, NewTask({"x": EVIL}, id=f"a{EVIL}\nb", type=EVIL))
    asynq.seed_archived(db, Q, NewTask(id="x"), purge_at_s=time.time() + 3600, error=EVIL)
    db.zadd(asynq.WORKERS, {"w": time.time() + 3600})
    beat = {"last_beat": int(time.time()), "status": EVIL, "recovery": json.dumps({EVIL: {"state": EVIL}})}
    db.hset(asynq.worker_key("w"), mapping={**beat, "queues": f"map[{EVIL}:1]"})
    line = {"ts": int(time.time() * 1000), "src": EVIL, "text": EVIL, "task_id": "x"}
    db.rpush(f"{asynq.worker_key('w')}:logs", json.dumps(line))
    commands = [(tasks, "list"), (tasks, "show", f"a{EVIL}\nb"), (tasks, "show", "x"), (tasks, "logs", "x")]
    commands += [(queues, "list"), (workers, "list"), (workers, "show", "w")]
    commands += [(tasks, "delete", f"a{EVIL}\nb", "--yes"), (tasks, "retry", f"a{EVIL}\nb")]

    shown = {}
    for module, *arguments in commands:
        for more in ((), ("--json",)):
            shell.run(module, *arguments, *more)
            shown[*arguments, *more] = shell.out + shell.err

    assert [each for each, text in shown.items() if not text.replace("\n", "").isprintable()] == []
    assert shown["logs", "x"].count("evil") == 2
    # An id with a line break in it makes no line of its own.
    assert shown["delete", f"a{EVIL}\nb", "--yes"].count("\n") == 1
    assert shown["retry", f"a{EVIL}\nb"].count("\n") == 1


def test_a_state_that_is_none_is_shown_as_text(shell: Shell, spoiled: redis.Redis) -> None:
    db = spoiled
    asynq.seed_pending(db, Q, NewTask(id="a"))
    db.hset(asynq.task_key(Q, "a"), "state", EVIL)

    for arguments in (("show", "a"), ("archive", "a"), ("cancel", "a", "--yes")):
        shell.run(tasks, *arguments)
        assert "evil" in shell.out + shell.err
        assert (shell.out + shell.err).replace("\n", "").isprintable()


def test_numbers_that_are_no_times_and_no_json_end_no_command(shell: Shell, spoiled: redis.Redis) -> None:
    huge, db = "9" * 400, spoiled
    asynq.seed_active(db, Q, NewTask(b'{"a": NaN, "b": 1e999}', id="a"), lease_until_s=float("inf"))
    fields = {
        "progress": f'{{"at_ms":{huge},"attempt":1,"progress":1}}',
        "failures": f'{{"attempt":1,"at":{huge},"error":"e"}}',
        "last_failed_at": "9" * 20,
    }
    db.hset(asynq.task_key(Q, "a"), mapping=fields)
    db.zadd(asynq.WORKERS, {"w": time.time() + 3600})
    metrics = f'{{"cpu_percent": {huge}, "memory_used_bytes": {huge}}}'
    beat = {"started_at": "9" * 18, "last_beat": "9" * 18, "metrics": metrics}
    db.hset(asynq.worker_key("w"), mapping=beat)
    line = {"ts": 10**18, "src": "stdout", "text": "t", "task_id": "a"}
    db.rpush(f"{asynq.worker_key('w')}:logs", json.dumps(line), json.dumps({**line, "ts": 1}))
    commands = [(tasks, "show", "a"), (tasks, "list"), (workers, "list"), (workers, "show", "w")]

    for module, *arguments in commands:
        assert shell.run(module, *arguments) == 0
        assert shell.run(module, *arguments, "--json") == 0
        json.loads(shell.out, parse_constant=pytest.fail)
    assert shell.run(tasks, "logs", "a") == 0
    assert len(shell.out.splitlines()) == 1


# Reaching ------------------------------------------------------------------------------------------


@pytest.fixture
def without_url(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("RUNQY_REDIS_URL")
    return shell


def test_the_local_server_says_where_its_redis_is(
    without_url: Shell, db: redis.Redis, server: FakeServer
) -> None:
    seed_all(db)

    assert without_url.run(tasks, "list", "--server", server.url, "--key", KEY, "--json") == 0

    assert len(without_url.objects()) == 6
    assert without_url.run(tasks, "list", "--server", server.url, "--key", "wrong") == 1
    assert "answered 401" in without_url.err


def test_any_other_server_says_it_to_a_worker(
    without_url: Shell, db: redis.Redis, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_all(db)
    monkeypatch.setattr("harness.dev.operate.reach.LOCAL_PATH", "/_harness/none")
    asked = ("list", "--server", server.url, "--json")

    assert without_url.run(tasks, *asked) == 1
    assert "expected --redis-url URL, or --worker-key KEY with --parent NAME" in without_url.err
    credentials = ("--worker-key", server.worker_key, "--parent", "inference")
    assert without_url.run(tasks, *asked, *credentials) == 0
    assert len(without_url.objects()) == 6
    assert without_url.run(tasks, *asked, "--worker-key", "wrong", "--parent", "inference") == 1
    assert "answered 401" in without_url.err


def test_a_server_with_a_page_for_every_path_is_not_the_local_one(
    without_url: Shell, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.dev.operate.reach.LOCAL_PATH", "/")

    assert without_url.run(tasks, "list", "--server", server.url) == 1

    assert "expected --redis-url URL, or --worker-key KEY with --parent NAME" in without_url.err


def test_an_option_in_the_url_that_redis_py_does_not_know_is_named(
    shell: Shell, redis_server: RedisServer
) -> None:
    assert shell.run(tasks, "list", "--redis-url", f"{redis_server.url}?ssl_ca_cert=x") == 1

    assert "unexpected keyword argument 'ssl_ca_cert'" in shell.err


@pytest.mark.parametrize("url", ["redis://:s3cret@127.0.0.1:1/0", "redis://:s3cret@{address}/0"])
def test_a_redis_that_does_not_answer_or_refuses_is_named_without_its_password(
    shell: Shell, redis_server: RedisServer, url: str
) -> None:
    address = f"{redis_server.host}:{redis_server.port}"

    assert shell.run(tasks, "list", "--redis-url", url.format(address=address)) == 1

    assert shell.err.startswith("runqy-harness tasks list: 127.0.0.1:")
    assert "s3cret" not in shell.err + shell.out


def test_a_cluster_is_worked_on_through_any_of_its_nodes(shell: Shell, tmp_path: Path) -> None:
    with RedisCluster(tmp_path / "cluster") as cluster, contextlib.closing(cluster.client()) as client:
        url = f"redis://{cluster.host}:{cluster.port}/0"
        asynq.seed_pending(client, Q, NewTask(id="p"))
        soon_s = time.time() + 3600
        asynq.seed_archived(client, "other.low", NewTask(id="x"), purge_at_s=soon_s)
        asynq.write_lookup(client, Q, "p")

        assert shell.run(tasks, "list", "--json", "--redis-url", url) == 0
        assert [task["task_id"] for task in shell.objects()] == ["p", "x"]
        assert shell.run(tasks, "retry", "x", "--redis-url", url) == 0
        assert shell.run(tasks, "delete", "p", "--yes", "--redis-url", url) == 0
        assert shell.run(queues, "pause", "other", "--redis-url", url) == 0
        assert [str(each) for each in reader.read(client)] == []
        assert asynq.where_is(client, "other.low", "x") == "pending"


# As programs ---------------------------------------------------------------------------------------


def test_a_terminal_gets_colours_and_a_table_as_wide_as_itself(
    redis_server: RedisServer, db: redis.Redis
) -> None:
    seed_all(db)
    db.hset(asynq.task_key(Q, "r"), "error_msg", "long " * 100)
    environment = {**os.environ, "RUNQY_REDIS_URL": redis_server.url, "COLUMNS": "80", "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    shown = b""

    def over() -> bool:
        nonlocal shown
        # Nothing to read so far, or the end, which a pseudo-terminal tells by an error.
        with contextlib.suppress(OSError):
            shown += os.read(ours, 65_536)
        return listing.poll() is not None

    with subprocess.Popen(
        [*HARNESS, "tasks", "list"], stdin=subprocess.DEVNULL, stdout=theirs, env=environment
    ) as listing:
        wait.until(over, 60, "the list to end", shown.decode)
        over()
    os.close(theirs)
    os.close(ours)
    assert listing.returncode == 0
    lines = shown.decode().split("\r\n")
    (archived,) = (line for line in lines if line.startswith("x "))
    assert "\x1b[31marchived" in archived
    plain = [_without_colours(line) for line in lines]
    assert max(map(len, plain)) == 79
    assert sum(line.endswith("…") for line in plain) == 1


def _without_colours(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("ta",), {"tasks"}),
        (("tasks", ""), {*tasks.ACTIONS, "--help"}),
        (("tasks", "list", "--st"), {"--state"}),
        (("tasks", "list", "--state", "a"), {"active", "archived"}),
        (("queues", "dr"), {"drain"}),
        (("serve", "--redis"), {"--redis-url", "--redis-host-for-workers"}),
        (("handlers", "--t"), {"--table"}),
    ],
)
def test_bash_completes_commands_actions_options_and_values(
    shell: Shell, tmp_path: Path, typed: tuple[str, ...], offered: set[str]
) -> None:
    assert shell.run(completion, "bash") == 0
    script = tmp_path / "completion"
    script.write_text(shell.out)
    words = " ".join(f"'{word}'" for word in ("runqy-harness", *typed))
    asked = f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _runqy_harness"
    asked += '; echo "${COMPREPLY[@]}"'

    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)

    assert set(found.stdout.split()) == offered


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_other_shells_get_a_script_with_every_command(shell: Shell, name: str) -> None:
    assert shell.run(completion, name) == 0
    for command in completion.commands():
        assert command.name in shell.out
    assert shell.run(completion, "tcsh") == 2
