"""The attacker is the server, or answers in its place: each answer costs one clear error, not the worker."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from appliance.exits import Exit
from tests.integration import world as worlds

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEY = "api-key-canary-91"
LEAST: dict[str, Any] = {
    "redis": {"addr": "redis.test:6380"},
    "queue": {"name": "inference"},
    "deployment": {"git_url": "https://git.test/r.git", "branch": "main", "startup_cmd": "python main.py"},
}
Write = Callable[[bytes], None]


def valid(**changes: Any) -> dict[str, Any]:
    made = json.loads(json.dumps(LEAST))
    for path, value in changes.items():
        section, _, key = path.partition("__")
        if key:
            made[section][key] = value
        else:
            made[section] = value
    return made


def answering(content: Any, status: int = 200) -> Callable[[Write], None]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def answer(write: Write) -> None:
        write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)

    return answer


def endless(
    head: bytes, again: bytes, pause_s: float = 0, first: bytes = b"HTTP/1.1 200 OK\r\n"
) -> Callable[[Write], None]:
    def answer(write: Write) -> None:
        write(first + head)
        while True:
            write(again)
            time.sleep(pause_s)

    return answer


DEEP = b"[" * 400_000 + b"]" * 400_000
#: Answer, and what the error says.
HOSTILE: dict[str, tuple[Callable[[Write], None], str]] = {
    "long-command": (
        answering(valid(deployment__startup_cmd="python " + "'x' " * 200_000)),
        "deployment.startup_cmd: must have at most 32768 characters, has 800007",
    ),
    "command-with-nul": (
        answering(valid(deployment__startup_cmd="python a\0b")),
        r"deployment.startup_cmd: must be visible text, is 'python a\x00b'",
    ),
    "deep": (answering(DEEP), "answered 200 with what is not JSON"),
    "deep-inside": (
        answering(valid(vaults=json.loads("[" * 200 + "]" * 200))),
        "vaults: must be an object of",
    ),
    "deep-error": (answering(b'{"error": %s}' % DEEP, 400), "answered 400: "),
    "many-sub-queues": (
        answering(valid(sub_queues=[{"name": f"inference.{n}"} for n in range(100_000)])),
        "answered with more than 1048576 bytes",
    ),
    "sub-queues": (
        answering(valid(sub_queues=[{"name": f"inference.{n}"} for n in range(30_000)])),
        "sub_queues: must be at most 10000, are 30000",
    ),
    "served-sub-queues": (
        answering(valid(sub_queues=[{"name": f"inference.{n}"} for n in range(9_000)])),
        "has 9000 sub-queues, a worker serves at most 256; name in RUNQY_QUEUES",
    ),
    "huge-number": (
        answering(valid(redis__db=10**4000)),
        "redis.db: must be a whole number from 0 to 2147483647",
    ),
    "huge-priority": (
        answering(valid(queue__priority=-(10**4000))),
        "queue.priority: must be a whole number",
    ),
    "endless-number": (
        answering(json.dumps(valid(redis__db=0)).encode().replace(b'"db": 0', b'"db": ' + b"9" * 900_000)),
        "answered 200 with what is not JSON",
    ),
    "infinite": (
        answering(valid(deployment__startup_timeout_secs=float("inf"))),
        "must be a positive number",
    ),
    "surrogates": (
        answering(valid(deployment__branch="\ud800", sub_queues=[{"name": "inference.\udfff"}])),
        r"deployment.branch: must be visible text, is '\ud800'",
    ),
    "vault-names": (answering(valid(vaults={"A\x1b[2J" * 9: 1})), "vaults.'A"),
    "vaults": (
        answering(valid(vaults={f"V{n}": "abcd" for n in range(50_000)})),
        "vaults: must have at most 1000 entries, have 50000",
    ),
    "list": (answering([]), "the answer: must be an object, is a list"),
    "null": (answering(None), "the answer: must be an object, is None"),
    "types": (
        answering({"redis": [], "queue": "inference", "deployment": 7, "vaults": [], "git_token": {}}),
        "queue: must be an object, is 'inference'",
    ),
    "redirect": (
        lambda write: write(
            b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:%d/elsewhere\r\n\r\n" % ELSEWHERE[0]
        ),
        "which is not followed because it would hand on the API key",
    ),
    "endless-body": (endless(b"\r\n", b"x" * 65_536), "answered with more than 1048576 bytes"),
    "endless-headers": (endless(b"", b"X: " + b"y" * 60_000 + b"\r\n"), "cannot be reached"),
    "endless-promises": (
        endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100, first=b""),
        "answered with more than 1048576 bytes",
    ),
    "slow": (endless(b"Content-Length: 1000\r\n\r\n", b" ", 0.2), "did not answer within 5 s"),
    "slow-headers": (endless(b"", b"X", 0.2), "did not answer within 5 s"),
    "echoes-the-key": (
        answering(
            {"error": f"you sent {KEY}, {KEY.encode().hex()} and \x1b[31m{KEY[:5]}\x1b[0m{KEY[5:]}"}, 400
        ),
        "answered 400: you sent ********, ******** and ********",
    ),
}
#: Valid, however odd, and looked at without holding up anything.
ACCEPTED = {
    "leaves": answering(valid(vaults={"A": json.dumps([f"leaf-{n}" for n in range(60_000)])})),
    "long-vault": answering(valid(vaults={"A": "x" * 1_000_000})),
    "full-vaults": answering(valid(vaults={f"V{n}": f"secret-{n}" for n in range(1000)})),
}
ELSEWHERE: list[int] = []


@contextmanager
def serving(answers: dict[str, Callable[[Write], None]]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers ``POST /CASE/…`` as the case says; its address, and every request it got."""
    requests: list[bytes] = []

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            # Whole: a connection closed with something unread is reset, and the answer lost.
            request = b""
            while not request.endswith(b"}"):
                request += connection.recv(65_536) or b"}"
            requests.append(request)
            case = re.match(rb"\w+ /([\w-]*)", request)
            answers[case[1].decode() if case else ""](connection.sendall)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        listener.shutdown(socket.SHUT_RDWR)


def register(*cases: str) -> tuple[dict[str, dict[str, Any]], list[bytes], list[bytes]]:
    """What each case came to, what the server was sent, and what the one elsewhere was."""
    answers = {**{case: answer for case, (answer, _) in HOSTILE.items()}, **ACCEPTED}
    with serving({"elsewhere": answering(LEAST)}) as (elsewhere, stolen), serving(answers) as (url, sent):
        ELSEWHERE[:] = [int(elsewhere.rpartition(":")[2])]
        command = [sys.executable, str(HERE / "registering.py"), url, KEY, *cases]
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
            env={"PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 0, done.stderr
    told = {line["case"]: line for line in map(json.loads, done.stdout.splitlines())}
    return told, sent, stolen


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, Any]]:
    found, sent, stolen = register(*HOSTILE, *ACCEPTED)
    assert all(KEY.encode() in request for request in sent)
    return {**found, "stolen": {"requests": stolen}}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_answer_is_one_clear_error(told: dict[str, dict[str, Any]], case: str) -> None:
    error = told[case]["error"]

    assert HOSTILE[case][1] in error
    assert len(error) < 6000
    assert KEY not in error
    assert "\x1b" not in error


@pytest.mark.parametrize("case", ACCEPTED)
def test_an_odd_answer_that_is_valid_is_taken(told: dict[str, dict[str, Any]], case: str) -> None:
    assert told[case]["accepted"] == 1


@pytest.mark.parametrize("case", [*HOSTILE, *ACCEPTED])
def test_no_answer_holds_up_what_else_the_worker_does(told: dict[str, dict[str, Any]], case: str) -> None:
    # Of CPU time, which other programs on the machine do not take part in.
    assert told[case]["blocked_s"] < 3


def test_a_redirect_takes_the_key_nowhere(told: dict[str, dict[str, Any]]) -> None:
    assert told["stolen"]["requests"] == []


def test_without_the_bounds_the_same_answers_are_taken() -> None:
    cases = ("long-command", "many-sub-queues", "served-sub-queues", "huge-number", "huge-priority")

    found, _, _ = register("lax", *cases)

    assert [case for case in cases if "accepted" not in found[case]] == []


def test_a_vault_that_no_process_can_be_given_ends_the_start_with_its_name(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as world:
        world.serve("echo", vaults={"v": {"BIG": "canary-92-" * 14_000, "SMALL": "x"}})
        worker = world.worker()

        assert worker.wait(100) == Exit.STARTUP
        events = [event["event"] for event in worker.log_events()]
        (failed,) = [event for event in worker.log_events() if event["event"] == "worker.failed"]

    assert "BIG (140005 bytes)" in failed["reason"]
    assert "SMALL" not in failed["reason"]
    assert "canary-92" not in worker.log_text()
    assert {"process.starting", "process.crashed"}.isdisjoint(events)
