"""The fake server: what workers, the SDK's client and plain HTTP get from it."""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from runqy_python import RunqyClient
from runqy_python.client import AuthenticationError, RunqyError, TaskNotFoundError

from harness import asynq
from harness.redis import RedisServer
from harness.repo import make_repo
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer

Q = "inference.default"
WORKER = {"queue": "inference", "hostname": "h", "os": "linux", "version": "1"}
PLAIN = QueueConfig(name="inference", git_url="https://example.org/repo.git")
FULL = QueueConfig(
    name="inference",
    git_url="https://example.org/repo.git",
    branch="v1",
    startup_cmd="python -m task",
    priority=6,
    sub_queues={"low": 1, "high": 9},
    code_path="sub/dir",
    mode="one_shot",
    startup_timeout_secs=300,
    redis_storage=False,
    requirements_file="req.txt",
    vaults={"keys": {"API_TOKEN": "t"}, "more": {"OTHER": "o"}},
    git_token="secret",
)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def db(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = redis_server.client()
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def server(redis_server: RedisServer, db: redis.Redis) -> Iterator[FakeServer]:
    with FakeServer(redis_server.url, [PLAIN], long_poll_s=0.3) as running:
        yield running


@pytest.fixture
def client(server: FakeServer) -> RunqyClient:
    return RunqyClient(server.url, server.client_key)


def call(
    server: FakeServer, method: str, path: str, body: Any = None, key: str | None = None
) -> httpx.Response:
    key = server.client_key if key is None else key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.request(method, server.url + path, json=body, headers=headers, trust_env=False)


def register(server: FakeServer, key: str | None = None, **fields: Any) -> httpx.Response:
    body = {name: value for name, value in {**WORKER, **fields}.items() if value is not None}
    return call(server, "POST", "/worker/register", body, server.worker_key if key is None else key)


def finish(db: redis.Redis, task_id: str, state: str, **fields: str) -> None:
    db.hset(asynq.task_key(Q, task_id), mapping={"state": state, **fields})


# Registration ----------------------------------------------------------------------------------------


def test_a_registering_worker_is_told_everything_the_queue_has(server: FakeServer) -> None:
    server.configure(FULL)

    answer = register(server)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "redis": {"addr": answer.json()["redis"]["addr"], "password": "", "db": 0, "use_tls": False},
        "queue": {"name": "inference", "priority": 6},
        "sub_queues": [{"name": "inference.high", "priority": 9}, {"name": "inference.low", "priority": 1}],
        "deployment": {
            "git_url": "https://example.org/repo.git",
            "branch": "v1",
            "code_path": "sub/dir",
            "startup_cmd": "python -m task",
            "mode": "one_shot",
            "startup_timeout_secs": 300,
            "redis_storage": False,
            "requirements_file": "req.txt",
            "vaults": ["keys", "more"],
        },
        "vaults": {"API_TOKEN": "t", "OTHER": "o"},
        "git_token": "secret",
    }


def test_what_a_queue_does_not_have_is_not_in_the_answer(
    server: FakeServer, redis_server: RedisServer
) -> None:
    answer = register(server).json()

    assert set(answer) == {"redis", "queue", "deployment"}
    assert answer["redis"]["addr"] == f"127.0.0.1:{redis_server.port}"
    assert not {"code_path", "requirements_file", "vaults"} & set(answer["deployment"])


def test_workers_may_be_told_of_redis_under_another_name(redis_server: RedisServer, db: redis.Redis) -> None:
    elsewhere = "rediss://:p%20w@redis.example.org:7000/3"
    with FakeServer(redis_server.url, [PLAIN], redis_url_for_workers=elsewhere) as server:
        told = register(server).json()["redis"]
        task = RunqyClient(server.url, server.client_key).enqueue(Q, {})

    assert told == {"addr": "redis.example.org:7000", "password": "p w", "db": 3, "use_tls": True}
    assert asynq.where_is(db, Q, task.task_id) == "pending"


@pytest.mark.parametrize(
    ("key", "status"), [("", 401), ("wrong", 401), ("local-client-key", 403), ("local-worker-key", 200)]
)
def test_only_a_workers_key_registers(server: FakeServer, key: str, status: int) -> None:
    answer = register(server, key=key)

    assert answer.status_code == status
    if status != 200:
        assert list(answer.json()) == ["error"]
        assert "worker's" in answer.json()["error"]


def test_one_key_may_be_a_workers_and_a_clients(redis_server: RedisServer, db: redis.Redis) -> None:
    with FakeServer(redis_server.url, [PLAIN], worker_key="k", client_key="k") as server:
        assert register(server).status_code == 200
        assert call(server, "GET", "/workers").status_code == 200
        assert call(server, "GET", "/workers", key="other").status_code == 401


def test_a_queue_the_server_does_not_know_is_not_found(server: FakeServer) -> None:
    answer = register(server, queue="training")

    assert answer.status_code == 404
    assert answer.json() == {"error": "queue 'training' not found; there are: inference"}
    assert server.complaints == ()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"queue": "inference.high"}, "without a dot"),
        ({"queue": None}, "queue is missing"),
        ({"hostname": ""}, "hostname is empty"),
        ({"os": 5}, "os is a number"),
        ({"version": None}, "version is missing"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_registration_that_is_not_as_it_should_be_is_refused_and_remembered(
    server: FakeServer, fields: dict[str, Any], problem: str
) -> None:
    answer = register(server, **fields)

    assert answer.status_code == 400
    assert problem in answer.json()["error"]
    (complaint,) = server.complaints
    assert problem in complaint.problem


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"{", "application/json"), (b"[]", "application/json"), (json.dumps(WORKER).encode(), "text/plain")],
)
def test_a_body_that_is_no_json_object_is_refused(
    server: FakeServer, content: bytes, content_type: str
) -> None:
    headers = {"Authorization": f"Bearer {server.worker_key}", "Content-Type": content_type}

    answer = httpx.post(f"{server.url}/worker/register", content=content, headers=headers, trust_env=False)

    assert answer.status_code == 400
    assert server.complaints


def test_who_runs_the_server_hears_of_a_worker_before_the_worker_gets_its_answer(
    redis_server: RedisServer,
) -> None:
    heard: list[str] = []

    def before(queue: str) -> None:
        heard.append(queue)
        server.configure(QueueConfig(name=queue, git_url="https://example.org/new.git"))

    with FakeServer(redis_server.url, [PLAIN], before_register=before) as server:
        answer = register(server).json()

    assert heard == ["inference"]
    assert answer["deployment"]["git_url"] == "https://example.org/new.git"


def test_requests_are_remembered_without_their_keys(server: FakeServer) -> None:
    register(server)
    register(server, key="wrong-key")

    first, second = server.requests_to("/worker/register")

    assert (first.role, first.status, first.body) == ("worker", 200, WORKER)
    assert (second.role, second.status) == ("", 401)
    assert "key" not in repr((first, second))


# Tasks -----------------------------------------------------------------------------------------------


def test_a_task_of_the_real_client_stands_in_redis_as_a_worker_expects_it(
    client: RunqyClient, db: redis.Redis
) -> None:
    # when the queue is named without its sub-queue
    sent = client.enqueue("inference", {"text": "grüß"}, timeout=17)

    # then
    assert (sent.queue, sent.state) == (Q, "pending")
    assert asynq.get_pending(db, Q) == [sent.task_id]
    assert asynq.get_queue_of(db, sent.task_id) == Q
    assert db.sismember(asynq.QUEUES, Q)
    task = asynq.get_task(db, Q, sent.task_id)
    assert task is not None
    assert json.loads(task.message["payload"]) == {"text": "grüß"}
    assert (task.message["retry"], task.message["timeout"], task.message["retention"]) == (3, 17, 86_400)
    assert (task.fields["ttl_completed"], task.fields["ttl_archived"]) == ("86400", "259200")


def test_a_flat_body_is_the_payload(server: FakeServer, db: redis.Redis) -> None:
    answer = call(server, "POST", "/queue/add", {"queue": "inference", "timeout": 5, "n": 1, "m": [2]})

    assert answer.status_code == 200
    assert answer.json()["data"] == {"n": 1, "m": [2]}
    info = answer.json()["info"]
    assert (info["queue"], info["state"], json.loads(info["payload"])) == (Q, "pending", {"n": 1, "m": [2]})


def test_a_batch_is_served_in_its_order(client: RunqyClient, db: redis.Redis) -> None:
    sent = client.enqueue_batch(Q, [{"n": n} for n in range(5)])

    assert (sent.enqueued, sent.failed, sent.errors) == (5, 0, [])
    assert asynq.get_pending(db, Q) == sent.task_ids
    assert [client.get_task(task_id).payload for task_id in sent.task_ids] == [{"n": n} for n in range(5)]


def test_a_bad_job_of_a_batch_does_not_hold_up_the_others(server: FakeServer, db: redis.Redis) -> None:
    jobs = [{"data": {"n": 1}}, "no job", {"data": {"n": 2}, "timeout": -1}, {"n": 3}]

    answer = call(server, "POST", "/queue/add-batch", {"queue": "inference", "jobs": jobs}).json()

    assert (answer["enqueued"], answer["failed"], len(answer["task_ids"])) == (2, 2, 2)
    assert [error.partition(" ")[2][:1] for error in answer["errors"]] == ["1", "2"]
    assert asynq.get_pending(db, Q) == answer["task_ids"]


def test_a_completed_tasks_result_and_a_failed_ones_error_are_read_by_the_real_client(
    client: RunqyClient, db: redis.Redis
) -> None:
    good, bad = client.enqueue_batch(Q, [{}, {}]).task_ids
    finish(db, good, "completed", result='{"answer": 42}')
    finish(db, bad, "archived", error_msg="ValueError: no")

    assert (client.get_task(good).state, client.get_task(good).result) == ("completed", {"answer": 42})
    assert (client.get_task(bad).state, client.get_task(bad).error) == ("archived", "ValueError: no")


def test_the_info_of_a_task_has_the_fields_of_the_protocol(server: FakeServer, client: RunqyClient) -> None:
    task_id = client.enqueue(Q, {}).task_id

    info = call(server, "GET", f"/queue/{task_id}").json()["Info"]

    expected = {"id", "type", "payload", "state", "queue", "max_retry", "retried", "LastErr", "Result"}
    assert expected <= set(info)
    assert (info["id"], info["max_retry"], info["retried"]) == (task_id, 3, 0)


def test_a_long_poll_answers_when_the_task_ends_and_not_before(
    redis_server: RedisServer, db: redis.Redis
) -> None:
    with FakeServer(redis_server.url, [PLAIN]) as server:
        task_id = RunqyClient(server.url, server.client_key).enqueue(Q, {}).task_id
        threading.Timer(0.3, finish, (db, task_id, "completed"), {"result": "7"}).start()
        begun = time.monotonic()

        info = call(server, "GET", f"/queue/{task_id}?wait=true").json()["Info"]

    assert (info["state"], info["Result"]) == ("completed", "7")
    assert 0.3 <= time.monotonic() - begun < 4


def test_a_long_poll_of_a_task_that_does_not_end_says_how_it_is_when_time_is_up(
    server: FakeServer, client: RunqyClient
) -> None:
    task_id = client.enqueue(Q, {}).task_id
    begun = time.monotonic()

    info = call(server, "GET", f"/queue/{task_id}?wait=true").json()["Info"]

    assert info["state"] == "pending"
    assert time.monotonic() - begun >= 0.3


def test_the_real_client_is_told_apart_what_is_wrong(server: FakeServer, client: RunqyClient) -> None:
    with pytest.raises(TaskNotFoundError):
        client.get_task("no-such-task")
    with pytest.raises(TaskNotFoundError, match=r"inference has: inference\.default"):
        client.enqueue("inference.high", {})
    with pytest.raises(AuthenticationError):
        RunqyClient(server.url, "wrong").enqueue(Q, {})
    with pytest.raises(RunqyError, match="403"):
        RunqyClient(server.url, server.worker_key).enqueue(Q, {})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/queue/add", {"data": {}}, 400),
        ("POST", "/queue/add", {"queue": Q, "timeout": "1"}, 400),
        ("POST", "/queue/add", {"queue": Q, "data": [1]}, 400),
        ("POST", "/queue/add-batch", {"queue": Q, "jobs": []}, 400),
        ("POST", "/queue/add", {"queue": "training"}, 404),
        ("GET", "/workers/nobody", None, 404),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/workers", None, 405),
    ],
)
def test_errors_of_the_client_api_are_a_list(
    server: FakeServer, method: str, path: str, body: Any, status: int
) -> None:
    answer = call(server, method, path, body)

    assert answer.status_code == status
    assert list(answer.json()) == ["errors"]
    assert all(isinstance(error, str) and error for error in answer.json()["errors"])


def test_a_key_may_come_in_a_header_of_its_own(server: FakeServer) -> None:
    answer = httpx.get(f"{server.url}/workers", headers={"X-API-Key": server.client_key}, trust_env=False)
    assert answer.status_code == 200


def test_while_redis_is_down_the_server_says_so_and_works_again_afterwards(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as own, FakeServer(own.url, [PLAIN]) as server:
        client = RunqyClient(server.url, server.client_key)
        own.stop()
        with pytest.raises(RunqyError, match="HTTP 500"):
            client.enqueue(Q, {})
        assert call(server, "GET", "/health").status_code == 500
        assert register(server).status_code == 200

        own.start()

        assert client.enqueue(Q, {}).task_id


# Workers ---------------------------------------------------------------------------------------------


def test_workers_are_shown_as_their_heartbeats_tell(server: FakeServer, db: redis.Redis) -> None:
    now = int(time.time())
    db.zadd(asynq.WORKERS, {"w1": now + 1800, "gone": now + 1800})
    beat = {
        "worker_id": "w1",
        "started_at": now - 60,
        "last_beat": now - 31,
        "concurrency": 4,
        "queues": "map[inference.high:9 inference.low:1]",
        "status": "running",
        "healthy": "1",
        "metrics": '{"cpu_percent": 1.5}',
        "recovery": "no json",
    }
    db.hset(asynq.worker_key("w1"), mapping=beat)

    (worker,) = call(server, "GET", "/workers").json()["workers"]

    assert worker == call(server, "GET", "/workers/w1").json()
    assert worker == {
        **beat,
        "queues": {"inference.high": 9, "inference.low": 1},
        "healthy": True,
        "metrics": {"cpu_percent": 1.5},
        "stale": True,
    }


# Git -------------------------------------------------------------------------------------------------


def git(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_an_exported_repository_is_cloned_shallow_and_sparse_over_http(
    server: FakeServer, tmp_path: Path
) -> None:
    # given a queue whose code the server itself has
    repo = make_repo(tmp_path / "code.git", {"a/main.py": "A", "b/big.bin": "B"})
    repo.commit({"a/main.py": "A2"})
    server.configure(QueueConfig(name="inference", git_url=server.export(repo.folder)))

    # when it is cloned as a worker does
    url = register(server).json()["deployment"]["git_url"]
    assert url.startswith(f"{server.url}/git/")
    cloned = git("clone", "--depth=1", "--filter=blob:none", "--sparse", url, "clone", cwd=tmp_path)
    assert cloned.returncode == 0, cloned.stderr
    sparse = git("sparse-checkout", "set", "a", cwd=tmp_path / "clone")
    assert sparse.returncode == 0, sparse.stderr

    # then
    assert (tmp_path / "clone" / "a" / "main.py").read_text() == "A2"
    assert not (tmp_path / "clone" / "b").exists()
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "clone").stdout.strip() == "1"


def test_a_repository_has_the_name_under_which_the_server_was_reached(
    server: FakeServer, tmp_path: Path
) -> None:
    repo = make_repo(tmp_path / "code.git", {"main.py": ""})
    path = server.export(repo.folder)
    server.configure(QueueConfig(name="inference", git_url=path))
    headers = {"Authorization": f"Bearer {server.worker_key}", "Host": "server:8081"}

    answer = httpx.post(f"{server.url}/worker/register", json=WORKER, headers=headers, trust_env=False)

    assert answer.json()["deployment"]["git_url"] == f"http://server:8081{path}"


def test_nothing_but_exported_repositories_is_served_and_nobody_may_push(
    server: FakeServer, tmp_path: Path
) -> None:
    repo = make_repo(tmp_path / "code.git", {"main.py": ""})
    make_repo(tmp_path / "other.git", {"main.py": ""})
    path = server.export(repo.folder)
    assert git("clone", server.url + path, "clone", cwd=tmp_path).returncode == 0

    for wrong in (
        "/git/code.git/info/refs?service=git-upload-pack",
        f"{path}/../other.git/HEAD",
        f"{path}/%2e%2e/other.git/HEAD",
        f"{path}/info/refs?service=git-receive-pack",
    ):
        assert call(server, "GET", wrong).status_code == 404, wrong
    pushed = git("push", "origin", "HEAD:refs/heads/evil", cwd=tmp_path / "clone")
    assert pushed.returncode != 0
    assert "evil" not in git("for-each-ref", cwd=repo.folder).stdout


# Life ------------------------------------------------------------------------------------------------


def test_a_restart_keeps_the_port_the_tasks_and_what_was_asked(
    server: FakeServer, client: RunqyClient
) -> None:
    port, task_id = server.port, client.enqueue(Q, {}).task_id

    server.stop()
    with pytest.raises(RunqyError, match="Connection"):
        client.get_task(task_id)
    server.start()

    assert server.port == port
    assert client.get_task(task_id).state == "pending"
    assert [request.path for request in server.requests] == ["/queue/add", f"/queue/{task_id}"]


def test_stopping_ends_long_polls_and_connections_that_are_kept_alive(
    redis_server: RedisServer, db: redis.Redis
) -> None:
    with FakeServer(redis_server.url, [PLAIN], long_poll_s=600) as server:
        headers = {"Authorization": f"Bearer {server.client_key}"}
        task_id = RunqyClient(server.url, server.client_key).enqueue(Q, {}).task_id
        ended = threading.Event()

        def poll() -> None:
            # An answer or a cut: both are an end.
            with contextlib.suppress(httpx.HTTPError):
                call(server, "GET", f"/queue/{task_id}?wait=true")
            ended.set()

        threading.Thread(target=poll, daemon=True).start()
        with httpx.Client(headers=headers, trust_env=False) as kept:
            assert kept.get(f"{server.url}/health").status_code == 200
            assert not ended.is_set()

            server.stop()

            assert ended.wait(5)
            with pytest.raises(httpx.HTTPError):
                kept.get(f"{server.url}/health")


def test_a_body_of_unknown_length_is_refused(server: FakeServer) -> None:
    answer = httpx.post(
        f"{server.url}/queue/add",
        content=iter([b"{}"]),
        headers={"Authorization": f"Bearer {server.client_key}"},
        trust_env=False,
    )
    assert answer.status_code == 413
