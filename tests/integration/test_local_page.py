"""The local server's page over HTTP: what it shows of a real Redis, what it sends, and whom it refuses."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import httpx
import pytest
import redis

from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.redis import RedisServer
from harness.server.config import Limits, QueueConfig
from harness.server.fake import FakeServer
from harness.server.faults import Fault
from harness.server.keys import Keys
from harness.server.page import page

Q = "inference.default"
QUEUE = QueueConfig(name="inference", git_url="unused://", limits=Limits(active_timeout_s=50))
SEND = "/_harness/page/send"


@pytest.fixture
def server(redis_server: RedisServer, db: redis.Redis) -> Iterator[FakeServer]:
    with FakeServer(redis_server.url, [QUEUE]) as running:
        yield running


def get(server: FakeServer, path: str = "/", **options: Any) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False, **options)


def send(server: FakeServer, payload: str, queue: str = Q, **headers: str) -> httpx.Response:
    fields = {"queue": queue, "payload": payload, "timeout": ""}
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    return httpx.post(server.url + SEND, data=fields, headers=own | headers, trust_env=False)


def text(answer: httpx.Response) -> str:
    """What a reader sees, tags left out."""
    return re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]*>", " ", answer.text, flags=re.DOTALL)


@contextmanager
def events(server: FakeServer, query: str = "") -> Iterator[HTTPResponse]:
    """The stream that keeps a page fresh."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", f"/_harness/page/live{query}")
    answer = connection.getresponse()
    # Not only the answer: it has the connection's file, but not its end.
    with connection.sock or answer:  # type: ignore[attr-defined]
        yield answer


def event(stream: HTTPResponse) -> dict[str, str]:
    """The next event that has something new, read by the rules of https://html.spec.whatwg.org/#sse."""
    data = ""
    while line := stream.readline().decode():
        name, _, value = line.rstrip("\n").partition(":")
        if name == "data":
            data += value.removeprefix(" ")
        elif not line.strip() and data:
            if found := json.loads(data):
                return found
            data = ""
    raise AssertionError("the stream ended")


def beat(db: redis.Redis, worker_id: str, **fields: str) -> None:
    now = str(int(time.time()))
    beat = {
        "worker_id": worker_id,
        "status": "running",
        "healthy": "1",
        "last_beat": now,
        "queues": f"map[{Q}:1]",
    }
    db.hset(asynq.worker_key(worker_id), mapping=beat | fields)
    db.zadd(asynq.WORKERS, {worker_id: time.time() + 1800})


# What it shows --------------------------------------------------------------------------------------


def test_the_page_shows_queues_tasks_by_state_and_workers(server: FakeServer, db: redis.Redis) -> None:
    asynq.seed_pending(db, Q, NewTask({"n": 1}, id="waits"))
    asynq.seed_archived(db, "other.low", NewTask({}, id="failed"), error="boom", purge_at_s=time.time() + 600)
    db.set(asynq.key("other.low", "paused"), "1")
    recovery = {"inference": {"state": "degraded", "consecutive_fails": 5, "total_restarts": 6}}
    beat(db, "w1", healthy="0", recovery=json.dumps(recovery))

    everything, narrowed = text(get(server)), text(get(server, "/?queue=other.low&state=archived"))

    assert re.search(r"other\.low\s+paused", everything)
    assert "w1" in everything
    assert re.search(
        r"running, not healthy.*inference:\s+degraded\s*, restarts: 6, consecutive failures: 5", everything
    )
    assert {"waits", "failed", "boom"} <= set(everything.split())
    assert "failed" in narrowed
    assert "waits" not in narrowed.partition("Tasks")[2]
    assert server.requests == (), "a page that is open for long fills no list"


def test_a_task_is_shown_with_all_there_is_of_it(server: FakeServer, db: redis.Redis) -> None:
    message = {"error_msg": "second error", "last_failed_at": 1_700_000_000, "deadline": 1_900_000_000}
    task = NewTask({"n": 1}, id="t1", type="kind", retried=2, timeout_s=30, message=message)
    asynq.seed_retry(db, Q, task, due_s=1_800_000_000, error="second error")
    failures = [
        {"attempt": 1, "at": 1_699_999_000, "error": "first error", "worker": "w1"},
        {"attempt": 2, "at": 1_700_000_000, "error": "second error", "worker": "w2"},
    ]
    lines = "".join(json.dumps(failure) + "\n" for failure in failures)
    db.hset(asynq.task_key(Q, "t1"), mapping={"failures": lines, "owner": "w2", "attempt": "2"})
    dossier = {
        "at": 1_699_999_000,
        "exit": "SIGSEGV",
        "uptime_s": 3,
        "tasks": ["t1"],
        "stderr": ["last words"],
    }
    db.rpush(
        "asynq:crashes:w1",
        json.dumps(dossier),
        json.dumps(dossier | {"tasks": ["t2"], "exit": "SIGILL"}),
        "{",
    )
    beat(db, "w2")
    lines = [("t1", "of the task"), ("t2", "of another"), (None, "of none")]
    for number, (task_id, said) in enumerate(lines):
        line = {"ts": 1_700_000_000_000 + number, "src": "stderr", "text": said}
        db.rpush("asynq:workers:w2:logs", json.dumps(line | ({"task_id": task_id} if task_id else {})))

    shown = text(get(server, "/?task=t1"))

    for expected in (
        "kind",
        "2 of 3",
        "30 s",
        r"again at\s+01-15 08:00:00",
        "03-17 17:46:40",
        r'{"n": 1}'.replace('"', "&quot;"),
        r"1\s+failed\s+11-14 21:56:40\s+w1\s+first error",
        r"2\s+failed\s+11-14 22:13:20\s+w2\s+second error",
        r"SIGSEGV\s+· after 3 s\s+last words",
        "of the task",
    ):
        assert re.search(expected, shown), (expected, shown)
    assert not re.search("SIGILL|of another|of none", shown)


def test_what_is_large_is_not_read(server: FakeServer, db: redis.Redis) -> None:
    large, huge = "x" * (page.LISTED_BYTES + 1), "y" * (page.SHOWN_BYTES + 1)
    asynq.seed_pending(db, Q, NewTask(large, id="large"), NewTask(huge, id="huge"))
    read = int(db.info("stats")["total_net_output_bytes"])

    everything, one, other = (text(get(server, path)) for path in ("/", "/?task=large", "/?task=huge"))

    assert re.search(r"large\s+pending\s+inference.default\s+64\.0 KiB", everything)
    assert "the first 64.0 KiB of 64.0 KiB" in one
    assert "4.0 MiB: too large to be shown" in other
    assert max(map(len, (everything, one, other))) < 200_000
    assert int(db.info("stats")["total_net_output_bytes"]) - read < 5 * page.LISTED_BYTES


@pytest.mark.parametrize(
    "query", ["?task=none", "?task=none&queue=nowhere", "?worker=none", "?queue=nowhere"]
)
def test_what_there_is_not_is_said(server: FakeServer, query: str) -> None:
    answer = get(server, f"/{query}")

    assert answer.status_code == 200
    assert re.search(
        r"There is no such task|No such worker has a heartbeat|Tasks of nowhere.*none",
        text(answer),
        re.DOTALL,
    )


def test_keys_of_another_type_take_no_page_away(server: FakeServer, db: redis.Redis) -> None:
    asynq.seed_pending(db, Q, NewTask({}, id="waits"))
    db.set(asynq.key(Q, "retry"), "a string")
    db.set(asynq.task_key(Q, "string"), "a string")

    assert "waits" in text(get(server))
    assert "There is no such task" in text(get(server, f"/?task=string&queue={Q}"))
    db.set("asynq:workers:w1:logs", "a string")
    beat(db, "w1")
    assert "Redis refuses" in text(get(server, "/?worker=w1"))


# Live -----------------------------------------------------------------------------------------------


def test_what_changed_is_sent_and_nothing_else(server: FakeServer, db: redis.Redis) -> None:
    with events(server) as stream:
        assert stream.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        assert list(event(stream)) == ["head", "queues", "workers", "tasks"]
        beat(db, "w1")
        assert list(event(stream)) == ["workers"]
        asynq.seed_pending(db, Q, NewTask({}, id="new"))
        seen: dict[str, str] = {}
        while not {"queues", "tasks"} <= seen.keys():
            seen |= event(stream)
        assert "new" in seen["tasks"]
        server.stop()
        while stream.readline():
            pass


def test_a_redis_that_is_away_is_said_and_the_page_goes_on(
    redis_server: RedisServer, server: FakeServer
) -> None:
    with events(server) as stream:
        event(stream)
        redis_server.stop()
        assert "Redis does not answer" in event(stream)["head"]
        assert "Redis does not answer" in text(get(server))
        assert "Redis:" in text(send(server, "1")), "what was typed comes back"
        redis_server.start()
        assert "Redis answers" in event(stream)["head"]


def test_readers_that_went_away_make_room(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, db: redis.Redis
) -> None:
    monkeypatch.setattr(page, "MOST_READERS", 1)
    monkeypatch.setattr(page, "SIGN_EVERY_S", 0.0)
    with FakeServer(server._redis_url, [QUEUE]) as small:
        with events(small) as first:
            event(first)
            with events(small) as second:
                assert second.read() == b"retry: 10000\n\n"

        def again() -> bool:
            with events(small) as third:
                return third.readline() == b"retry: 1000\n"

        wait.until(again, 60, "the first reader's place to be free")


# Sending --------------------------------------------------------------------------------------------


def test_a_form_sends_what_the_api_would_and_leads_to_the_task(server: FakeServer, db: redis.Redis) -> None:
    answer = send(server, '{"b": 1.0, "a": "ä"}')

    (task_id,) = asynq.get_pending(db, Q)
    task = asynq.get_task(db, Q, task_id)
    assert task is not None
    assert (answer.status_code, answer.headers["location"]) == (303, f"/?queue={Q}&task={task_id}")
    assert task.message["payload"] == '{"a":"ä","b":1}'.encode()
    assert task.message["timeout"] == 50, "the queue's limit"
    assert asynq.get_queue_of(db, task_id) == Q
    assert "Send it again" in text(get(server, answer.headers["location"]))


@pytest.mark.parametrize(
    ("payload", "queue", "status", "problem"),
    [
        ('{"half": ', Q, 400, "the payload is no JSON"),
        ("</textarea><b>", Q, 400, "the payload is no JSON"),
        ("1", "other.low", 404, "queue not found: other.low"),
        ("1", "", 404, "queue not found"),
    ],
)
def test_a_form_that_is_wrong_comes_back_as_it_was(
    server: FakeServer, db: redis.Redis, payload: str, queue: str, status: int, problem: str
) -> None:
    answer = send(server, payload, queue)

    assert answer.status_code == status
    assert problem in text(answer)
    assert (
        f">\n{payload.replace('<', '&lt;').replace('>', '&gt;').replace(chr(34), '&quot;')}</textarea>"
        in answer.text
    )
    assert asynq.get_queues(db) == []


# Who is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_a_form_of_another_site_is_refused(
    server: FakeServer, db: redis.Redis, headers: dict[str, str]
) -> None:
    answer = send(server, "1", **headers)

    assert answer.status_code == 403
    assert asynq.get_queues(db) == []


@pytest.mark.parametrize("path", ["/", "/_harness/page/live"])
def test_a_name_that_was_rebound_to_this_machine_gets_nothing(server: FakeServer, path: str) -> None:
    answer = get(server, path, headers={"Host": f"evil.example:{server.port}"})

    assert (answer.status_code, answer.headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert "expected localhost or 127.0.0.1" in answer.text


def test_a_client_that_is_not_on_this_machine_gets_nothing(redis_server: RedisServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: which address would be used?
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but the loopback's")
    with FakeServer(redis_server.url, [QUEUE], host="0.0.0.0") as server:
        there = HTTPConnection(address, server.port, timeout=30)
        there.request("GET", "/", headers={"Host": "127.0.0.1"})
        answer = there.getresponse()

        assert (answer.status, answer.read()[:36]) == (403, b"the page is for this machine alone: ")
        there.close()
        assert get(server).status_code == 200


def test_a_server_with_a_key_for_the_page_asks_for_it(redis_server: RedisServer, db: redis.Redis) -> None:
    with FakeServer(redis_server.url, [QUEUE], keys=Keys(page="s3cret")) as server:
        answers = [get(server, auth=auth) for auth in (None, ("", "wrong"), ("", "s3cret"))]

        assert [answer.status_code for answer in answers] == [401, 401, 200]
        assert send(server, "1").status_code == 401
    assert asynq.get_queues(db) == []


def test_the_page_cannot_be_made_faulty(server: FakeServer) -> None:
    with pytest.raises(ValueError, match="path is '/': expected one of /worker/register"):
        server.faults.add("/", Fault(status=500))
