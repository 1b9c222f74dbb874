"""The contract of the runqy server, played against the fake one and against wrong ones."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis

from harness.conform.contract.every import EXCHANGES
from harness.conform.exchange import Exchange
from harness.conform.play import Target, play
from harness.failure import CommandFailed
from harness.queue import asynq, beats
from harness.sandbox.redis import RedisServer
from harness.server import (
    api,
    base64_text,
    bodies,
    config,
    go_json,
    inspector,
    services,
    task_json,
    workers,
    writes,
)
from harness.server.age import RULES, Age
from harness.server.behaviour import Behaviour
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.server.faults import Fault
from harness.server.inspector import Inspector
from harness.server.keys import CLIENT, Keys
from harness.server.messages import Response, error
from harness.server.routes import admin, client, table
from harness.server.writes import Writer

QUEUE = QueueConfig("inference", "https://git.test/r.git", sub_queues={"high": 9, "low": 1})
LOW = "inference.low"
Patch = Callable[[pytest.MonkeyPatch], None]


def served(redis_server: RedisServer, **behaviour: Any) -> FakeServer:
    return FakeServer(redis_server.url, [QUEUE], behaviour=Behaviour(long_poll_s=0.1, **behaviour))


def target(server: FakeServer, redis_server: RedisServer, age: Age = Age.NEWER) -> Target:
    keys = {"admin": server.admin_key, "client": server.client_key, "worker": server.worker_key}
    return Target(server.url, age, "inference", keys, redis_server.url)


def different(
    server: FakeServer,
    redis_server: RedisServer,
    age: Age = Age.NEWER,
    exchanges: Sequence[Exchange] = EXCHANGES,
) -> dict[str, str]:
    """The exchanges that are different, and in what."""
    played = play(target(server, redis_server, age), exchanges)
    return {each.exchange.name: "; ".join(each.differences) for each in played if each.differences}


@pytest.mark.parametrize("age", Age)
def test_the_fake_server_is_like_the_real_one_of_its_age_and_nothing_is_left_behind(
    redis_server: RedisServer, db: redis.Redis, age: Age
) -> None:
    with served(redis_server, age=age) as server:
        played = list(play(target(server, redis_server, age), EXCHANGES))

    assert [(each.exchange.name, each.differences) for each in played if each.differences] == []
    assert [each.exchange.name for each in played if each.skipped] == []
    assert [key.decode() for key in db.scan_iter()] == [asynq.QUEUES]


@pytest.mark.parametrize(("served_as", "played_as"), [(Age.OLDER, Age.NEWER), (Age.NEWER, Age.OLDER)])
def test_one_age_is_not_taken_for_the_other(
    redis_server: RedisServer, db: redis.Redis, served_as: Age, played_as: Age
) -> None:
    with served(redis_server, age=served_as) as server:
        found = different(server, redis_server, played_as)

    assert {"a nested task", "a batch that names no time limit", "the workers"} <= set(found)
    assert "the writes.order" in found["a nested task"]


# Servers that are wrong ------------------------------------------------------------------------------


def attribute(owner: object, name: str, value: Any) -> Patch:
    return lambda patch: patch.setattr(owner, name, value)


def route(path: str, **changes: Any) -> Patch:
    routes = tuple(replace(each, **changes) if each.path == path else each for each in table.ROUTES)
    return attribute(table, "ROUTES", routes)


def rules(**changes: Any) -> Patch:
    return attribute(services, "RULES", {age: replace(each, **changes) for age, each in RULES.items()})


def around(owner: Any, name: str, change: Callable[[Any], Any]) -> Patch:
    """What the function returns is changed."""
    before = getattr(owner, name)
    return attribute(owner, name, lambda *args, **options: change(before(*args, **options)))


def registration(**members: Any) -> Patch:
    return around(config, "registration", lambda answer: {**answer, **members})


def unwrapped(jobs: list[bytes]) -> list[bytes]:
    return [go_json.members(job).get("data", job) if job.startswith(b"{") else job for job in jobs]


def shortened(jobs: list[bytes]) -> list[bytes]:
    return [b"%d" % float(job) if b"." in job else job for job in jobs]


def uncounted(answer: Response) -> Response:
    return replace(answer, body=answer.body.replace(b'"count"', b'"n"'))


def lookup_first(patch: pytest.MonkeyPatch) -> None:
    put = Writer._put

    def earlier(self: Writer, queue: str, message: Mapping[str, Any]) -> None:
        self._db.hset(asynq.lookup_key(message["id"]), "queue", queue)
        put(self, queue, message)

    patch.setattr(Writer, "_put", earlier)


def of_the_hash(patch: pytest.MonkeyPatch) -> None:
    read = Inspector.task

    def task(self: Inspector, queue: str, task_id: str) -> inspector.Inspected:
        found = read(self, queue, task_id)
        said = self._db.hget(asynq.task_key(queue, task_id), "error_msg")
        return replace(found, message={**found.message, "error_msg": (said or b"").decode()})

    patch.setattr(Inspector, "task", task)


def gone_is_unknown(patch: pytest.MonkeyPatch) -> None:
    when_over = client._when_over

    def found(of: services.Services, queue: str, task_id: str) -> inspector.Inspected:
        try:
            return when_over(of, queue, task_id)
        except inspector.Unreadable as exc:
            raise client.Refused(404, "task not found") from exc

    patch.setattr(client, "_when_over", found)


def as_it_is_when_time_is_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(client, "_when_over", lambda of, queue, task_id: of.inspector.task(queue, task_id))


WRONG: dict[str, tuple[Patch, str]] = {
    "keys are refused with one error": (attribute(api, "errors", error), "registering without a key"),
    "a bearer in any case": (
        attribute(api.keys, "presented", lambda headers: headers.get("authorization", " ").split(" ")[-1]),
        "a key behind a lower-case bearer",
    ),
    "no sub-queue registers": (
        attribute(bodies, "_QUEUE_NAME", bodies.re.compile("[a-z-]+")),
        "registering for a sub-queue",
    ),
    "a requirements file is sent": (
        around(config, "_redis_part", lambda part: {**part, "requirements_file": "x"}),
        "registering with a worker's key",
    ),
    "a batch unwraps its jobs": (
        around(go_json, "elements", unwrapped),
        "a batch with the wrapping of the SDK",
    ),
    "a batch writes its jobs again": (
        around(
            go_json, "elements", lambda jobs: [b"%g" % float(job) if b"." in job else job for job in jobs]
        ),
        "a batch of jobs that are no objects",
    ),
    "a single task stays as it was sent": (
        attribute(go_json, "rewritten", lambda body: body),
        "numbers and signs in a single task",
    ),
    "the payload of info is text": (
        attribute(task_json.base64, "b64encode", lambda content: content),
        "a nested task",
    ),
    "another time limit where none is asked for": (
        attribute(writes, "ASYNQ_TIMEOUT_S", 300),
        "a task that names no time limit",
    ),
    "no stamps": (rules(limits=False), "a nested task"),
    "lookups for ever": (rules(lookup_ttl_s=None), "a nested task"),
    "lookups for a day": (rules(lookup_ttl_s=86_400), "a nested task"),
    "the lookup comes first": (lookup_first, "a nested task"),
    "a batch completes task by task": (attribute(writes, "ROUND", 1), "a batch of more than a hundred tasks"),
    "no day of retention": (
        around(Writer, "_message", lambda message: {**message, "retention": 0}),
        "a nested task",
    ),
    "a task wants a key": (route("/queue/{id}", role=CLIENT), "a task without a key"),
    "clients see workers": (route("/workers", role=CLIENT), "the workers with a client's key"),
    "lists refuse a client as weak": (
        route("/api/queues/{queue}/tasks", admin_alone=False),
        "the list of tasks with a client's key",
    ),
    "results are shown as they are": (
        attribute(base64_text, "shown", base64_text.text),
        "a result that is null, which is base64",
    ),
    "line breaks are no base64": (
        attribute(base64_text, "_GROUPS", bodies.re.compile(rb"(?:[A-Za-z0-9+/]{4})*")),
        "a result that is base64 with padding",
    ),
    "a fraction is forgiven": (
        attribute(inspector, "_whole", lambda score, _: int(score or 0)),
        "a task in retry whose score has a fraction",
    ),
    "errors are told from the hash": (of_the_hash, "a task in retry, its errors and times"),
    "a wait that runs out is answered": (
        as_it_is_when_time_is_up,
        "waiting for a task that does not end",
    ),
    "a task that is gone is unknown to those who wait": (gone_is_unknown, "waiting for a task that is gone"),
    "null is no payload": (
        around(bodies, "data_of", lambda data: b"{}" if data == b"null" else data),
        "a single task whose data is null",
    ),
    "an unknown method is not allowed": (
        attribute(api, "NOT_FOUND", Response(405, b"no", "text/plain")),
        "a method there is not",
    ),
    "queues of workers are an object": (
        around(workers, "shown", lambda worker: {**worker, "queues": beats.queues(worker["queues"])}),
        "the workers",
    ),
    "stale under another name": (
        around(workers, "shown", lambda worker: {**worker, "stale": worker["is_stale"]}),
        "a worker without a beat for half a minute",
    ),
    "workers are not counted": (
        around(
            admin, "json_response", lambda answer: replace(answer, body=answer.body.replace(b"count", b"n"))
        ),
        "the workers",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_server_that_is_wrong_is_found(
    name: str, redis_server: RedisServer, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, exchange = WRONG[name]
    wrong(monkeypatch)
    others = EXCHANGES[::8]

    with served(redis_server) as server:
        found = different(
            server, redis_server, exchanges=[each for each in EXCHANGES if each.name == exchange]
        )
        broken = different(server, redis_server, exchanges=others)

    assert exchange in found
    assert len(broken) < len(others) / 2, "a wrong server that breaks everything shows nothing"


# The command -----------------------------------------------------------------------------------------


def conform(server: FakeServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ["--server", server.url, "--admin-key", server.admin_key]
    command = [sys.executable, "-m", "harness", "conform", *where, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_without_redis_and_other_keys_less_is_played_and_it_says_so(
    redis_server: RedisServer, db: redis.Redis
) -> None:
    with served(redis_server) as server:
        done = conform(server)

    assert done.returncode == 0, done.stdout + done.stderr
    summary, *missing = done.stdout.splitlines()
    assert summary.endswith(f"exchanges with {server.url}, as the newer server: all as expected")
    assert sorted(line.split("they need ")[1] for line in missing) == [
        "--client-key",
        "--redis-url",
        "--worker-key",
    ]


def test_each_difference_is_a_line_and_makes_the_status_1(redis_server: RedisServer, db: redis.Redis) -> None:
    with served(redis_server, age=Age.OLDER) as server:
        done = conform(server, "--redis-url", redis_server.url, "--short")

    assert done.returncode == 1
    assert "different  a nested task: the task.hash.ttl_completed is missing, expected a text" in done.stdout
    assert "waiting for a task that does not end" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--queue=training"], ["training", "404", "not found"]),
        (["--admin-key=wrong"], ["401", "access unauthorized"]),
        (["--server=http://127.0.0.1:9"], ["http://127.0.0.1:9", "refused"]),
        (["--redis-url=redis://127.0.0.1:9"], ["--redis-url", "refused"]),
    ],
)
def test_a_server_that_cannot_be_played_with_is_one_line(
    redis_server: RedisServer, arguments: list[str], words: list[str]
) -> None:
    with served(redis_server) as server:
        done = conform(server, *arguments)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert [word for word in words if word not in done.stderr] == []


def test_a_queue_that_a_worker_serves_is_refused(redis_server: RedisServer, db: redis.Redis) -> None:
    def taken(step: writes.Write) -> None:
        if step is writes.Write.QUEUE:
            db.lmove(asynq.key(LOW, "pending"), asynq.key(LOW, "active"), "RIGHT", "LEFT")

    with (
        served(redis_server, before_write=taken) as server,
        pytest.raises(CommandFailed, match=r"a worker took a task of inference\.low"),
    ):
        list(play(target(server, redis_server), EXCHANGES))


def test_a_queue_with_an_input_schema_is_refused_before_its_errors_are_taken_for_differences(
    redis_server: RedisServer, db: redis.Redis
) -> None:
    with served(redis_server) as server:
        server.faults.add("/queue/add", Fault(status=400))
        done = conform(server)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "a task for inference.low is refused" in done.stderr
    assert "expected a --queue without an input schema" in done.stderr


def test_a_queue_of_a_worker_that_beats_is_refused_before_anything_is_sent(
    redis_server: RedisServer, db: redis.Redis
) -> None:
    db.hset(asynq.worker_key("w1"), mapping={"queues": f"map[{LOW}:1]", "status": "running"})

    with served(redis_server) as server:
        done = conform(server, "--redis-url", redis_server.url)

    assert (done.returncode, done.stdout) == (1, "")
    assert f"worker w1 serves {LOW}: expected a --queue that no worker serves" in done.stderr
    assert asynq.get_pending(db, LOW) == []


def test_keys_are_in_no_output(redis_server: RedisServer, db: redis.Redis) -> None:
    canary = Keys(admin="canary-admin", client="canary-client", worker="canary-worker")
    with FakeServer(redis_server.url, [QUEUE], keys=canary) as server:
        done = conform(server, "--age=older", "--client-key=canary-client", "--worker-key=canary-worker")

    assert "canary" not in done.stdout + done.stderr
    assert "canary" not in repr(target(server, redis_server))
