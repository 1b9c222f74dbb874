"""The fake server: what workers, the SDK's client and plain HTTP get from it."""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from runqy_python import RunqyClient
from runqy_python.client import RunqyError

from harness.queue import asynq
from harness.sandbox.redis import RedisServer
from harness.sandbox.repo import make_repo
from harness.server.age import Age
from harness.server.behaviour import Behaviour
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
    vaults={"keys": {"API_TOKEN": "t"}, "more": {"OTHER": "o"}},
    git_token="secret",
)


@pytest.fixture
def server(redis_server: RedisServer, db: redis.Redis) -> Iterator[FakeServer]:
    with FakeServer(redis_server.url, [PLAIN]) as running:
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
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json() == {
        "redis": {"addr": answer.json()["redis"]["addr"], "password": "", "db": 0, "use_tls": False},
        "queue": {"name": "inference", "priority": 9},
        "sub_queues": [{"name": "inference.high", "priority": 9}, {"name": "inference.low", "priority": 1}],
        "deployment": {
            "git_url": "https://example.org/repo.git",
            "branch": "v1",
            "code_path": "sub/dir",
            "startup_cmd": "python -m task",
            "mode": "one_shot",
            "startup_timeout_secs": 300,
            "redis_storage": False,
            "vaults": ["keys", "more"],
        },
        "vaults": {"API_TOKEN": "t", "OTHER": "o"},
        "git_token": "secret",
    }


def test_what_a_queue_does_not_have_is_not_in_the_answer(
    server: FakeServer, redis_server: RedisServer
) -> None:
    answer = register(server).json()

    assert set(answer) == {"redis", "queue", "sub_queues", "deployment"}
    assert answer["sub_queues"] == [{"name": Q, "priority": 1}]
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
        text = "access unauthorized" if status == 401 else "insufficient permissions"
        assert answer.json() == {"errors": [text]}


def test_a_sub_queue_may_register_and_is_told_of_itself_alone(server: FakeServer) -> None:
    server.configure(FULL)

    answer = register(server, queue="inference.low").json()

    assert answer["queue"] == {"name": "inference.low", "priority": 1}
    assert answer["sub_queues"] == [{"name": "inference.low", "priority": 1}]
    assert answer["deployment"]["branch"] == "v1"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer local-worker-key"}, 200),
        ({"Authorization": "Bearer local-worker-key  "}, 200),
        ({"Authorization": "bearer local-worker-key"}, 401),
        ({"X-API-Key": "local-worker-key"}, 200),
        ({"Authorization": "Basic eDp5", "X-API-Key": "local-worker-key"}, 200),
        ({"Authorization": "Bearer wrong", "X-API-Key": "local-worker-key"}, 401),
        ({"Authorization": "Bearer local-admin-key"}, 200),
    ],
)
def test_a_key_is_looked_for_where_the_real_server_looks_for_it(
    server: FakeServer, headers: dict[str, str], status: int
) -> None:
    # Not httpx, which sends no blanks at the end of a value.
    client = HTTPConnection("127.0.0.1", server.port, timeout=10)
    client.request("POST", "/worker/register", json.dumps(WORKER), headers)
    answer = client.getresponse()
    client.close()

    assert answer.status == status


def test_a_queue_the_server_does_not_know_is_not_found(server: FakeServer) -> None:
    answer = register(server, queue="training")

    assert answer.status_code == 404
    assert answer.json() == {"error": "queue 'training' not found (also tried 'training.default')"}
    assert server.complaints == ()


@pytest.mark.parametrize(
    ("fields", "status", "problem"),
    [
        ({"queue": "inference.default"}, 200, "without a dot"),
        ({"queue": None}, 400, "queue is missing"),
        ({"queue": "../x"}, 400, "without a dot"),
        ({"hostname": ""}, 200, "hostname is empty"),
        ({"os": 5}, 400, "os is a number"),
        ({"version": None}, 200, "version is missing"),
        ({"colour": "red"}, 200, "unknown field 'colour'"),
    ],
)
def test_what_a_worker_should_not_send_is_remembered_and_answered_as_the_real_server_does(
    server: FakeServer, fields: dict[str, Any], status: int, problem: str
) -> None:
    answer = register(server, **fields)

    assert answer.status_code == status
    assert status == 200 or list(answer.json()) == ["error"]
    assert [problem in complaint.problem for complaint in server.complaints] == [True]


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"", "application/json", 400),
        (json.dumps(WORKER).encode(), "text/plain", 200),
    ],
)
def test_a_body_is_read_whatever_its_content_type_and_complained_of(
    server: FakeServer, content: bytes, content_type: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {server.worker_key}", "Content-Type": content_type}

    answer = httpx.post(f"{server.url}/worker/register", content=content, headers=headers, trust_env=False)

    assert answer.status_code == status
    assert server.complaints


def test_who_runs_the_server_hears_of_a_worker_before_the_worker_gets_its_answer(
    redis_server: RedisServer,
) -> None:
    heard: list[str] = []

    def before(queue: str) -> None:
        heard.append(queue)
        server.configure(QueueConfig(name=queue, git_url="https://example.org/new.git"))

    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(before_register=before)) as server:
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


# Workers ---------------------------------------------------------------------------------------------


def beating(db: redis.Redis, worker_id: str, **fields: Any) -> dict[str, Any]:
    """A heartbeat of a worker of two queues; it is in no set of workers."""
    now = int(time.time())
    beat = {
        "worker_id": worker_id,
        "started_at": now - 60,
        "last_beat": now,
        "concurrency": 4,
        "queues": "map[inference.high:9 inference.low:1]",
        "status": "running",
        **fields,
    }
    db.hset(asynq.worker_key(worker_id), mapping=beat)
    return beat


@pytest.mark.parametrize("age", Age)
def test_workers_are_shown_as_their_hashes_tell_and_queues_stay_text(
    redis_server: RedisServer, db: redis.Redis, age: Age
) -> None:
    beat = beating(db, "w1", last_beat=int(time.time()) - 31)
    db.hset(asynq.worker_key("w1"), mapping={"instance_id": "i-7", "protected": "True"})
    db.rpush(f"{asynq.worker_key('w1')}:logs", "{}")
    db.zadd(asynq.WORKERS, {"forgotten": time.time() + 1800})
    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(age=age)) as server:
        listed = call(server, "GET", "/workers", key=server.admin_key).json()
        one = call(server, "GET", "/workers/w1", key=server.admin_key).json()
        unknown = call(server, "GET", "/workers/w2", key=server.admin_key)

    newer = {"instance_id": "i-7", "protected": True} if age is Age.NEWER else {}
    expected = {**beat, "is_stale": True, **newer}
    assert listed == {"workers": [expected], "count": 1}
    assert one == expected
    assert (unknown.status_code, unknown.json()) == (404, {"errors": ["Worker not found"]})


@pytest.mark.parametrize(("key", "status"), [("client", 403), ("worker", 403), ("", 401), ("admin", 200)])
def test_only_the_admin_sees_workers(server: FakeServer, key: str, status: int) -> None:
    keys = {"client": server.client_key, "worker": server.worker_key, "admin": server.admin_key}

    assert call(server, "GET", "/workers", key=keys.get(key, "")).status_code == status


def test_the_autoscaler_counts_every_fresh_hash_of_a_parent_whatever_its_status(
    server: FakeServer, db: redis.Redis
) -> None:
    beating(db, "a")
    beating(db, "b", status="stopped", queues="inference.default,training.default")
    beating(db, "c", last_beat=int(time.time()) - 60)
    beating(db, "d", queues="training.default")

    counted = call(server, "GET", "/_harness/view", key=server.admin_key).json()["autoscaler"]

    assert counted == {"inference": 2}


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
    with FakeServer(redis_server.url, [PLAIN], behaviour=Behaviour(long_poll_s=600)) as server:
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

            assert ended.wait(60)
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
