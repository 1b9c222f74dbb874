"""The fake server's client API: what it answers, and what it writes into Redis in which order."""

import base64
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from runqy_python import RunqyClient
from runqy_python.client import AuthenticationError, RunqyError, TaskNotFoundError

from harness.queue import asynq
from harness.sandbox.client import Client
from harness.sandbox.redis import RedisServer
from harness.server.age import LOOKUP_TTL_S, Age
from harness.server.behaviour import Behaviour
from harness.server.config import Limits, QueueConfig
from harness.server.fake import FakeServer
from harness.server.writes import ROUND, Write

Q = "inference.default"
PLAIN = QueueConfig(name="inference", git_url="https://example.org/repo.git")
STAMPS = {"ttl_completed", "ttl_archived", "pending_timeout", "active_timeout"}


@pytest.fixture
def server(redis_server: RedisServer, db: redis.Redis) -> Iterator[FakeServer]:
    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(long_poll_s=0.3)) as running:
        yield running


@pytest.fixture
def client(server: FakeServer) -> Client:
    return Client(server.url, server.client_key)


def call(
    server: FakeServer, method: str, path: str, body: Any = None, key: str | None = None
) -> httpx.Response:
    key = server.client_key if key is None else key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    return httpx.request(method, server.url + path, content=content, headers=headers, trust_env=False)


def stored(db: redis.Redis, task_id: str) -> asynq.StoredTask:
    task = asynq.get_task(db, Q, task_id)
    assert task is not None
    return task


def finish(db: redis.Redis, task_id: str, state: str, **fields: str) -> None:
    db.hset(asynq.task_key(Q, task_id), mapping={"state": state, **fields})


# Payloads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b'{"queue":"inference","data":{"b":1,"a":"gr\xc3\xbc\xc3\x9f"}}', '{"a":"grüß","b":1}'),
        (b'{"queue":"inference","timeout":5,"n":1,"type":"t"}', '{"n":1,"type":"t"}'),
        (b'{"queue":"inference"}', "{}"),
        (b'{"queue":"inference","data":{},"type":"ignored","other":1}', "{}"),
        (b'{"queue":"inference","data":{"n":12345678901234567890}}', '{"n":12345678901234567000}'),
        (b'{"queue":"inference","data":{"n":1.0,"s":1e-7,"l":1e21}}', '{"l":1e+21,"n":1,"s":1e-7}'),
        (b'{"queue":"inference","data":{"tag":"<b>&"}}', '{"tag":"\\u003cb\\u003e\\u0026"}'),
        (b'{"queue":"inference","data":[1, 12345678901234567890]}', "[1, 12345678901234567890]"),
        (b'{"queue":"inference","data":null}', "null"),
    ],
    ids=["nested", "flat", "empty", "others ignored", "large", "numbers", "escaped", "list", "null"],
)
def test_a_single_tasks_payload_is_data_or_what_stands_beside_queue_and_timeout_written_as_go_writes_it(
    server: FakeServer, db: redis.Redis, body: bytes, payload: str
) -> None:
    answer = call(server, "POST", "/queue/add", body).json()

    assert stored(db, answer["info"]["id"]).message["payload"].decode() == payload
    assert base64.b64decode(answer["info"]["payload"]).decode() == payload


def test_the_data_of_a_single_task_comes_back_as_it_was_sent(server: FakeServer) -> None:
    answer = call(server, "POST", "/queue/add", b'{"queue":"inference","data":{"n":12345678901234567890}}')

    assert answer.json()["data"] == {"n": 12345678901234567890}


def test_a_job_of_a_batch_is_its_payload_byte_for_byte(server: FakeServer, db: redis.Redis) -> None:
    jobs = [b'{"timeout": 9,  "data":{"b":1,"a":1.0}}', b'"a text"', b"12345678901234567890", b"null", b"[ ]"]
    body = b'{"queue": "inference", "jobs": [ %b ]}' % b" , ".join(jobs)

    answer = call(server, "POST", "/queue/add-batch", body).json()

    assert answer == {"enqueued": 5, "failed": 0, "task_ids": answer["task_ids"]}
    assert asynq.get_pending(db, Q) == answer["task_ids"]
    assert [stored(db, task_id).message["payload"] for task_id in answer["task_ids"]] == jobs


def test_the_sdks_own_batch_wraps_each_payload_and_ours_does_not(
    server: FakeServer, client: Client, db: redis.Redis
) -> None:
    wrapped = RunqyClient(server.url, server.client_key).enqueue_batch(Q, [{"n": 1}], timeout=9).task_ids[0]
    plain = client.enqueue_batch(Q, [{"n": 1}], timeout=9).task_ids[0]

    assert json.loads(stored(db, wrapped).message["payload"]) == {"timeout": 9, "data": {"n": 1}}
    assert json.loads(stored(db, plain).message["payload"]) == {"n": 1}
    assert stored(db, plain).message["timeout"] == 9


# What is written -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "path", "asked", "message_s", "stamp"),
    [
        (Age.OLDER, "add", None, 1800, None),
        (Age.OLDER, "add", 17, 17, None),
        (Age.OLDER, "add", -5, -5, None),
        (Age.OLDER, "add-batch", None, 30, None),
        (Age.OLDER, "add-batch", 17, 17, None),
        (Age.NEWER, "add", None, 1800, "0"),
        (Age.NEWER, "add", 17, 17, "17"),
        (Age.NEWER, "add", -5, 1800, "0"),
        (Age.NEWER, "add-batch", None, 1800, "0"),
        (Age.NEWER, "add-batch", 17, 17, "17"),
    ],
)
def test_the_time_limit_stands_where_each_age_of_the_server_writes_it(
    redis_server: RedisServer,
    db: redis.Redis,
    age: Age,
    path: str,
    asked: int | None,
    message_s: int,
    stamp: str | None,
) -> None:
    body: dict[str, Any] = {"queue": "inference", **({} if asked is None else {"timeout": asked})}
    body |= {"jobs": [{}]} if path == "add-batch" else {"data": {}}
    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(age=age)) as server:
        assert call(server, "POST", f"/queue/{path}", body).status_code == 200

    task = stored(db, asynq.get_pending(db, Q)[0])
    assert (task.message["timeout"], task.fields.get("active_timeout")) == (message_s, stamp)
    assert (task.message["retry"], task.message["retention"], task.message["type"]) == (3, 86_400, Q)
    assert STAMPS & set(task.fields) == (STAMPS if age is Age.NEWER else set())


@pytest.mark.parametrize(("age", "ttl_s"), [(Age.OLDER, -1), (Age.NEWER, LOOKUP_TTL_S)])
@pytest.mark.parametrize("batch", [False, True])
def test_a_lookup_lives_for_ever_on_the_older_server_and_thirty_days_on_the_newer(
    redis_server: RedisServer, db: redis.Redis, age: Age, ttl_s: int, batch: bool
) -> None:
    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(age=age)) as server:
        client = Client(server.url, server.client_key)
        task_id = client.enqueue_batch(Q, [{}]).task_ids[0] if batch else client.enqueue(Q, {}).task_id

    assert asynq.get_queue_of(db, task_id) == Q
    assert ttl_s - 5 <= db.ttl(asynq.lookup_key(task_id)) <= ttl_s


def test_a_queues_limits_are_stamped_by_the_newer_server(redis_server: RedisServer, db: redis.Redis) -> None:
    limits = Limits(
        max_retry=7, ttl_completed_s=60, ttl_archived_s=0, pending_timeout_s=5, active_timeout_s=8
    )
    queue = QueueConfig(name="inference", git_url="unused://", limits=limits)
    with FakeServer(redis_server.url, [queue]) as server:
        task_id = Client(server.url, server.client_key).enqueue(Q, {}, timeout=0).task_id

    task = stored(db, task_id)
    assert {name: task.fields[name] for name in STAMPS} == {
        "ttl_completed": "60",
        "ttl_archived": "0",
        "pending_timeout": "5",
        "active_timeout": "8",
    }
    assert (task.message["retry"], task.message["timeout"], task.message["retention"]) == (7, 8, 60)


class Seen:
    """What stands in Redis at each step of writing tasks."""

    def __init__(self, db: redis.Redis) -> None:
        self._db = db
        self.steps: list[tuple[Write, int, int, int, int]] = []

    def __call__(self, step: Write) -> None:
        ids = asynq.get_pending(self._db, Q)
        stamped = sum(set(stored(self._db, task_id).fields) >= STAMPS for task_id in ids)
        lookups = [task_id for task_id in ids if asynq.get_queue_of(self._db, task_id)]
        expiring = sum(self._db.ttl(asynq.lookup_key(task_id)) > 0 for task_id in lookups)
        self.steps.append((step, len(ids), stamped, len(lookups), expiring))


@pytest.mark.parametrize(
    ("age", "steps"),
    [
        (Age.OLDER, [(Write.LOOKUP, 1, 0, 0, 0), (Write.QUEUE, 1, 0, 1, 0)]),
        (
            Age.NEWER,
            [
                (Write.STAMPS, 1, 0, 0, 0),
                (Write.LOOKUP, 1, 1, 0, 0),
                (Write.EXPIRY, 1, 1, 1, 0),
                (Write.QUEUE, 1, 1, 1, 1),
            ],
        ),
    ],
)
def test_a_task_is_in_pending_before_its_stamps_those_before_its_lookup_and_that_before_its_lifetime(
    redis_server: RedisServer, db: redis.Redis, age: Age, steps: Sequence[tuple[Write, int, int, int, int]]
) -> None:
    seen = Seen(db)
    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(age=age, before_write=seen)) as server:
        Client(server.url, server.client_key).enqueue(Q, {})

    assert seen.steps == steps


def test_a_batch_puts_a_hundred_tasks_into_the_queue_before_the_stamps_of_the_first(
    redis_server: RedisServer, db: redis.Redis
) -> None:
    seen = Seen(db)
    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(before_write=seen)) as server:
        Client(server.url, server.client_key).enqueue_batch(Q, [{}] * (ROUND + 20))

    assert seen.steps == [
        (Write.STAMPS, ROUND, 0, 0, 0),
        (Write.STAMPS, ROUND + 20, ROUND, ROUND, ROUND),
    ]


def test_a_delay_comes_between_the_steps(redis_server: RedisServer, db: redis.Redis) -> None:
    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(write_delay_s=0.05)) as server:
        begun = time.monotonic()
        Client(server.url, server.client_key).enqueue(Q, {})

    assert time.monotonic() - begun >= 4 * 0.05


# What is read ----------------------------------------------------------------------------------------


def test_the_info_of_a_new_task_is_the_real_servers(server: FakeServer) -> None:
    info = call(server, "POST", "/queue/add", {"queue": "inference", "data": {}}).json()["info"]

    never = "0001-01-01T00:00:00Z"
    assert info == {
        "id": info["id"],
        "type": Q,
        "payload": "e30=",
        "state": "pending",
        "queue": Q,
        "max_retry": 3,
        "retried": 0,
        "LastErr": "",
        "LastFailedAt": never,
        "Deadline": never,
        "Group": "",
        "NextProcessAt": info["NextProcessAt"],
        "IsOrphaned": False,
        "CompletedAt": never,
        "Result": None,
    }


def test_a_task_may_be_asked_for_without_a_key_and_with_a_wrong_one(
    server: FakeServer, client: Client
) -> None:
    task_id = client.enqueue(Q, {"n": 1}).task_id

    answers = [call(server, "GET", f"/queue/{task_id}", key=key) for key in ("", "wrong")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["Info"]["payload"] == '{"n":1}'


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ('{"answer": 42}', '{"answer": 42}'),
        ("null", "\ufffd\ufffde"),
        ("true", "\ufffd\ufffd\ufffd"),
        ("4oKC", "\u2082"),
        ("4oKs4oI=", "\u20ac\ufffd\ufffd"),
        ("1234", "\ufffdm\ufffd"),
        ("12\r\n34", "\ufffdm\ufffd"),
        ("null ", "null "),
        ("12345", "12345"),
        ("", ""),
    ],
)
def test_a_result_that_happens_to_be_base64_is_decoded(
    server: FakeServer, client: Client, db: redis.Redis, result: str, shown: str
) -> None:
    task_id = client.enqueue(Q, {}).task_id
    finish(db, task_id, "completed", result=result)

    found = call(server, "GET", f"/queue/{task_id}").json()["Info"]["Result"]

    assert found == shown


def test_what_failed_is_told_from_the_message_not_the_hash(server: FakeServer, db: redis.Redis) -> None:
    message = {"error_msg": "ValueError: no", "last_failed_at": 1_700_000_000}
    failed = asynq.NewTask(message=message, retried=2)
    asynq.write_lookup(db, Q, failed.id)
    asynq.seed_retry(db, Q, failed, due_s=1_700_000_060, error="of the hash")

    info = call(server, "GET", f"/queue/{failed.id}").json()["Info"]

    assert (info["state"], info["LastErr"], info["retried"]) == ("retry", "ValueError: no", 2)
    assert (info["LastFailedAt"], info["NextProcessAt"]) == ("2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z")


@pytest.mark.parametrize("state", ["scheduled", "retry", "completed", "archived"])
def test_a_score_with_a_fraction_is_an_error_wherever_it_is_read(
    server: FakeServer, db: redis.Redis, state: str
) -> None:
    # given two tasks, one with a whole score
    good, bad = asynq.NewTask(), asynq.NewTask()
    asynq.write_lookup(db, Q, good.id, bad.id)
    asynq.seed_completed(db, Q, good, bad, purge_at_s=0)
    for task, score in ((good, 1_700_000_000), (bad, 1_700_000_000.5)):
        finish(db, task.id, state)
        db.zadd(asynq.key(Q, state), {task.id: score})

    # when
    statuses = [call(server, "GET", f"/queue/{task.id}").status_code for task in (good, bad)]
    waited = call(server, "GET", f"/queue/{bad.id}?wait=true")
    listed = call(server, "GET", f"/api/queues/{Q}/tasks?state={state}", key=server.admin_key)
    db.zrem(asynq.key(Q, state), bad.id)
    sound = call(server, "GET", f"/api/queues/{Q}/tasks?state={state}", key=server.admin_key)

    # then the dashboard's tab fails, and a single task where its due time is read
    due = state in {"scheduled", "retry"}
    assert statuses == [200, 500 if due else 200]
    assert waited.status_code == (408 if due or state == "scheduled" else 200)
    assert listed.status_code == 500
    assert [task["id"] for task in sound.json()["tasks"]] == [good.id]


def test_a_lookup_without_its_task_or_queue_is_an_error_of_the_server(
    server: FakeServer, client: Client, db: redis.Redis
) -> None:
    deleted, hidden = client.enqueue(Q, {}).task_id, client.enqueue(Q, {}).task_id
    db.delete(asynq.task_key(Q, deleted))
    assert call(server, "GET", f"/queue/{deleted}").json() == {"errors": ["asynq: task not found"]}
    db.srem(asynq.QUEUES, Q)

    answer = call(server, "GET", f"/queue/{hidden}")

    assert (answer.status_code, answer.json()) == (500, {"errors": ["asynq: queue not found"]})
    with pytest.raises(RunqyError, match="queue not found"):
        client.get_task(hidden)


def test_a_long_poll_answers_when_the_task_ends_and_not_before(
    redis_server: RedisServer, db: redis.Redis
) -> None:
    with FakeServer(redis_server.url, [PLAIN]) as server:
        task_id = Client(server.url, server.client_key).enqueue(Q, {}).task_id
        threading.Timer(0.3, finish, (db, task_id, "completed"), {"result": "7"}).start()
        begun = time.monotonic()

        info = call(server, "GET", f"/queue/{task_id}?wait=true").json()["Info"]

    assert (info["state"], info["Result"]) == ("completed", "7")
    assert time.monotonic() - begun >= 0.3


def test_a_long_poll_that_runs_out_is_a_timeout(server: FakeServer, client: Client) -> None:
    task_id = client.enqueue(Q, {}).task_id
    begun = time.monotonic()

    answer = call(server, "GET", f"/queue/{task_id}?wait=true")

    assert (answer.status_code, answer.json()) == (408, {"errors": ["timeout waiting for task result"]})
    assert time.monotonic() - begun >= 0.3


# Errors ----------------------------------------------------------------------------------------------


def test_the_real_client_is_told_apart_what_is_wrong(server: FakeServer, client: Client) -> None:
    with pytest.raises(TaskNotFoundError):
        client.get_task("no-such-task")
    with pytest.raises(TaskNotFoundError, match=r"queue not found: inference\.high"):
        client.enqueue("inference.high", {})
    with pytest.raises(AuthenticationError):
        RunqyClient(server.url, "wrong").enqueue(Q, {})
    with pytest.raises(RunqyError, match="403"):
        RunqyClient(server.url, server.worker_key).enqueue(Q, {})


def test_a_parent_without_a_default_sub_queue_has_none(server: FakeServer) -> None:
    server.configure(QueueConfig(name="split", git_url="unused://", sub_queues={"high": 9}))

    answer = call(server, "POST", "/queue/add", {"queue": "split", "data": {}})

    assert (answer.status_code, answer.json()) == (404, {"errors": ["queue not found: split.default"]})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/queue/add", {"data": {}}, 400),
        ("POST", "/queue/add", {"queue": 5}, 400),
        ("POST", "/queue/add", b"{", 400),
        ("POST", "/queue/add", {"queue": Q, "timeout": "1"}, 400),
        ("POST", "/queue/add", {"queue": Q, "timeout": 1.5}, 400),
        ("POST", "/queue/add", {"queue": "training", "timeout": "1"}, 404),
        ("POST", "/queue/add-batch", {"queue": Q, "jobs": []}, 400),
        ("POST", "/queue/add-batch", {"queue": Q}, 400),
        ("GET", "/workers", None, 403),
        ("GET", f"/api/queues/{Q}/tasks", None, 401),
        ("GET", "/queue/add", None, 404),
    ],
)
def test_errors_of_the_client_api_are_a_list(
    server: FakeServer, method: str, path: str, body: Any, status: int
) -> None:
    answer = call(server, method, path, body)

    assert answer.status_code == status
    assert list(answer.json()) == ["errors"]
    assert all(isinstance(error, str) and error for error in answer.json()["errors"])


NOWHERE = [("GET", "/nowhere"), ("PUT", "/workers"), ("PUT", "/queue/add")]


@pytest.mark.parametrize(("method", "path"), NOWHERE)
def test_a_path_or_method_there_is_not_is_not_found(server: FakeServer, method: str, path: str) -> None:
    answer = call(server, method, path, key=server.admin_key)

    assert (answer.status_code, answer.text) == (404, "404 page not found")
    assert server.complaints


def test_while_redis_is_down_the_server_says_so_as_the_real_one_and_works_again_afterwards(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as own, FakeServer(own.url, [PLAIN]) as server:
        client = Client(server.url, server.client_key)
        task_id = client.enqueue(Q, {}).task_id
        own.stop()
        with pytest.raises(RunqyError, match="HTTP 400"):
            client.enqueue(Q, {})
        refused = client.enqueue_batch(Q, [{}, {}])
        assert (refused.enqueued, refused.failed, len(refused.errors)) == (0, 2, 2)
        with pytest.raises(RunqyError, match="HTTP 500"):
            client.get_task(task_id)
        assert [call(server, "GET", path).status_code for path in ("/health", "/healthz")] == [200, 503]

        own.start()

        assert client.enqueue(Q, {}).task_id
