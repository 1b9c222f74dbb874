"""The fault switches of the fake server, seen by a plain HTTP client, and what a worker makes of them."""

import contextlib
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.clock import SystemClock
from appliance.config.settings import BootstrapSettings, ServerSettings
from appliance.control.registration import Registrar
from appliance.errors import RegistrationRejected, RegistrationUnavailable
from harness.queue import asynq
from harness.sandbox.redis import RedisServer
from harness.sandbox.repo import make_repo
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.server.faults import Fault
from harness.server.keys import Keys

PATH = "/worker/register"
WORKER = {"queue": "inference", "hostname": "h", "os": "linux", "version": "1"}


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[FakeServer]:
    queue = QueueConfig(name="inference", git_url="https://git.test/r.git")
    with FakeServer(redis_server.url, [queue], keys=Keys(more={"a-viewers-key": "viewer"})) as running:
        yield running


def call(server: FakeServer, method: str, path: str, key: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.request(method, server.url + path, json=body, headers=headers, trust_env=False, timeout=20)


def register(server: FakeServer) -> httpx.Response:
    return call(server, "POST", PATH, server.worker_key, WORKER)


def switch(server: FakeServer, method: str, body: Any = None, query: str = "") -> httpx.Response:
    return call(server, method, f"/_harness/faults{query}", server.admin_key, body)


def test_a_status_is_answered_as_often_as_asked_and_no_more(server: FakeServer) -> None:
    server.faults.add(PATH, Fault(status=503, headers={"Retry-After": "1"}, times=2))
    answers = [register(server) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].headers["retry-after"] == "1"
    assert list(answers[0].json()) == ["error"]


def test_faults_of_a_path_take_turns_and_other_paths_are_spared(server: FakeServer) -> None:
    server.faults.add(PATH, Fault(status=500, times=1))
    server.faults.add(PATH, Fault(status=429, times=1))
    assert call(server, "GET", "/health", "").status_code == 200
    assert [register(server).status_code for _ in range(3)] == [500, 429, 200]


def test_a_garbled_answer_is_no_json(server: FakeServer) -> None:
    server.faults.add(PATH, Fault(garbage=True))
    answer = register(server)
    assert answer.status_code == 200
    with pytest.raises(ValueError):  # noqa: PT011  no UTF-8 or no JSON: both are meant
        answer.json()


def test_a_delay_comes_before_the_usual_answer_and_ends_with_the_server(server: FakeServer) -> None:
    server.faults.add(PATH, Fault(delay_s=0.2, times=1))
    begun = time.monotonic()
    assert register(server).status_code == 200
    assert time.monotonic() - begun >= 0.2

    server.faults.add(PATH, Fault(delay_s=600))
    ended = threading.Event()

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            register(server)
        ended.set()

    threading.Thread(target=ask, daemon=True).start()
    assert call(server, "GET", "/health", "").status_code == 200
    assert not ended.is_set()
    server.stop()
    assert ended.wait(60)


@pytest.mark.parametrize(
    ("drop", "arrived", "done"), [("unread", False, 0), ("undone", True, 0), ("unanswered", True, 1)]
)
def test_a_connection_is_dropped_before_reading_before_doing_or_before_answering(
    redis_server: RedisServer, server: FakeServer, drop: Any, arrived: bool, done: int
) -> None:
    redis_server.client().flushall()
    server.faults.add("/queue/add", Fault(drop=drop, times=1))
    body = {"queue": "inference", "timeout": 10, "data": {"n": 1}}
    with pytest.raises(httpx.TransportError):
        call(server, "POST", "/queue/add", server.client_key, body)
    (seen,) = server.requests_to("/queue/add")
    assert (seen.status, seen.body is not None) == (0, arrived)
    assert len(asynq.get_pending(redis_server.client(), "inference.default")) == done
    assert call(server, "POST", "/queue/add", server.client_key, body).status_code == 200


def test_another_content_type_is_told(server: FakeServer) -> None:
    server.faults.add(PATH, Fault(content_type="text/html"))
    answer = register(server)
    assert (answer.headers["content-type"], answer.json()["queue"]["name"]) == ("text/html", "inference")


def test_a_huge_body_is_filled_up_with_blanks(server: FakeServer) -> None:
    server.faults.add(PATH, Fault(huge_bytes=3_000_000))
    answer = register(server)
    assert len(answer.content) == 3_000_000
    assert answer.json()["queue"]["name"] == "inference"


def test_a_slow_body_comes_in_pieces(server: FakeServer) -> None:
    server.faults.add(PATH, Fault(slow_s=0.5))
    headers = {"Authorization": f"Bearer {server.worker_key}"}
    arrivals = []
    with httpx.stream(
        "POST", server.url + PATH, json=WORKER, headers=headers, trust_env=False, timeout=20
    ) as answer:
        for _ in answer.iter_raw():
            arrivals.append(time.monotonic())
    assert len(arrivals) > 3
    assert arrivals[-1] - arrivals[0] > 0.3


def test_a_truncated_body_ends_before_what_was_promised(server: FakeServer) -> None:
    server.faults.add(PATH, Fault(truncate_bytes=10))
    with pytest.raises(httpx.RemoteProtocolError, match="received 10 bytes, expected"):
        register(server)


def test_repositories_can_be_faulty_too(server: FakeServer, tmp_path: Path) -> None:
    url = server.url + server.export(make_repo(tmp_path / "r.git", {"main.py": ""}).folder)
    clone = ["git", "clone", "--quiet", url, str(tmp_path / "clone")]
    server.faults.add("/git/{repository}", Fault(status=503, times=1))
    refused = subprocess.run(clone, capture_output=True, text=True, check=False)
    assert "503" in refused.stderr
    assert subprocess.run(clone, capture_output=True, check=False).returncode == 0


# Over HTTP ---------------------------------------------------------------------------------------------


def test_faults_are_switched_and_shown_over_http(server: FakeServer) -> None:
    fault = {"path": PATH, "status": 503, "headers": {"Retry-After": "1"}, "times": 2}
    other = {"path": "/health", "delay_s": 0.01, "truncate_bytes": 0}
    assert switch(server, "POST", fault).json() == {"faults": [fault]}
    assert switch(server, "POST", other).json() == {"faults": [fault, other]}
    assert register(server).status_code == 503
    assert switch(server, "GET").json() == {"faults": [{**fault, "times": 1}, other]}
    assert switch(server, "DELETE", query=f"?path={PATH}").json() == {"faults": [other]}
    assert register(server).status_code == 200
    assert switch(server, "DELETE").json() == {"faults": []}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"path": "/nowhere", "status": 500}, "path is '/nowhere': expected one of /worker/register"),
        ({"path": "/_harness/faults", "status": 500}, "path is '/_harness/faults'"),
        ({"status": 500}, "path is None"),
        ({"path": ["/health"], "status": 500}, "path is ['/health']"),
        ({"path": "/health", "status": 99}, "status is 99: expected 200 to 599"),
        ({"path": "/health", "status": True}, "status is True"),
        ({"path": "/health", "delay_s": "soon"}, "delay_s is 'soon': expected seconds"),
        ({"path": "/health", "drop": "later"}, "drop is 'later': expected one of unread, undone, unanswered"),
        ({"path": "/health", "headers": {"a": "b\r\nc: d"}}, "headers is"),
        ({"path": "/health", "content_type": 7}, "content_type is 7"),
        ({"path": "/health", "huge_bytes": 0}, "huge_bytes is 0"),
        ({"path": "/health", "truncate_bytes": -1}, "truncate_bytes is -1"),
        ({"path": "/health", "slow_s": -1}, "slow_s is -1"),
        ({"path": "/health", "garbage": 1}, "garbage is 1"),
        ({"path": "/health", "status": 500, "times": 0}, "times is 0: expected a whole number, 1 or more"),
        ({"path": "/health", "times": 3}, "a fault that does nothing"),
        ({"path": "/health", "speed": 1}, "unknown field 'speed', known: path, status"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_what_is_allowed(
    server: FakeServer, body: dict[str, Any], problem: str
) -> None:
    refused = switch(server, "POST", body)
    assert refused.status_code == 400
    assert problem in refused.json()["errors"][0]
    assert call(server, "GET", "/health", "").status_code == 200


@pytest.mark.parametrize("path", ["faults", "complaints", "requests"])
def test_only_an_admins_key_looks_behind_the_scenes(server: FakeServer, path: str) -> None:
    keys = (server.admin_key, server.client_key, server.worker_key, "a-viewers-key", "nobodys")
    statuses = [call(server, "GET", f"/_harness/{path}", key).status_code for key in keys]
    assert statuses == [200, 403, 403, 403, 401]


def test_complaints_and_requests_are_shown_over_http(server: FakeServer) -> None:
    call(server, "POST", PATH, server.worker_key, {**WORKER, "queue": 7})
    shown = call(server, "GET", "/_harness/complaints", server.admin_key).json()
    assert [entry["problem"] for entry in shown["complaints"]] == [
        "queue is a number, expected a text that is not empty"
    ]
    asked = call(server, "GET", "/_harness/requests", server.admin_key).json()["requests"]
    assert [(entry["path"], entry["role"], entry["status"]) for entry in asked[:1]] == [(PATH, "worker", 400)]


def test_a_heartbeat_that_is_not_as_it_should_be_is_a_complaint(
    redis_server: RedisServer, server: FakeServer
) -> None:
    db = redis_server.client()
    db.flushall()
    db.zadd("asynq:workers", {"w1": time.time() + 1800})
    db.hset("asynq:workers:w1", mapping={"worker_id": "w2", "status": "asleep", "queues": "map[a"})
    problems = call(server, "GET", "/_harness/complaints", server.admin_key).json()["heartbeats"]
    assert problems == server.heartbeat_problems()
    assert {problem.split(":")[1].split()[0] for problem in problems} == {
        *("worker_id", "started_at", "last_beat", "concurrency", "queues", "status", "healthy"),
        *("metrics", "recovery", "it"),
    }


# What a worker makes of them -----------------------------------------------------------------------------


class Quick(SystemClock):
    def sleep(self, seconds: float) -> None:
        """Over at once."""


def registrar(server: FakeServer) -> Registrar:
    settings = ServerSettings(server.url, server.worker_key)
    return Registrar(settings, BootstrapSettings(2, 0.01), Quick(), "1.2.3", random.Random(1))


PASSING = [
    Fault(status=500),
    Fault(status=429, headers={"Retry-After": "1"}),
    Fault(drop="unread"),
    Fault(drop="undone"),
    Fault(drop="unanswered"),
    Fault(truncate_bytes=10),
]


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_can_pass_is_asked_again_and_given_up_in_the_end(server: FakeServer, fault: Fault) -> None:
    server.faults.add(PATH, fault)
    with pytest.raises(RegistrationUnavailable, match="after 3 attempts"):
        registrar(server).register("inference")
    assert len(server.requests_to(PATH)) == 3


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_has_passed_does_no_harm(server: FakeServer, fault: Fault) -> None:
    for _ in range(2):
        server.faults.add(PATH, Fault(**{**vars(fault), "times": 1}))
    assert registrar(server).register("inference").parent == "inference"
    assert len(server.requests_to(PATH)) == 3


@pytest.mark.parametrize(
    "fault", [Fault(garbage=True), Fault(status=401), Fault(status=404), Fault(huge_bytes=64 << 20)], ids=str
)
def test_what_stays_is_final_at_once(server: FakeServer, fault: Fault) -> None:
    server.faults.add(PATH, fault)
    with pytest.raises(RegistrationRejected):
        registrar(server).register("inference")
    assert len(server.requests_to(PATH)) == 1


@pytest.mark.parametrize(
    "fault", [Fault(delay_s=0.3), Fault(slow_s=0.3), Fault(content_type="text/plain")], ids=str
)
def test_what_only_looks_odd_is_accepted(server: FakeServer, fault: Fault) -> None:
    server.faults.add(PATH, fault)
    assert registrar(server).register("inference").parent == "inference"
    assert len(server.requests_to(PATH)) == 1
