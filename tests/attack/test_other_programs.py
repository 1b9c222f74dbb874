"""Another program listens where a worker should: commands say so, and believe nothing of it."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import execute
from appliance.commands import endpoint
from appliance.commands.options import Options
from appliance.exits import Exit

CONTROL = "\x1b]0;owned\x07\x9b2J\u202e\u200b\r\nforged"
READY = {"ready": True, "status": "running", "reasons": []}
PARENT = {
    "parent": "q" + CONTROL,
    "state": CONTROL,
    "slots": {"in_use": 0, "total": 1},
    "recovery": {"total_restarts": 0},
    "commit": CONTROL,
    "notes": [CONTROL],
    "queues": [{"name": CONTROL, "priority": 1, "depth": None}],
    "tasks": [{"id": CONTROL, "queue": CONTROL, "age_s": 1.0, "retried": 0}],
}
STATUS = {
    "worker": {"id": "w" + CONTROL, "status": CONTROL, "quiet": False, "uptime_s": 1.0, "version": CONTROL},
    "ready": True,
    "reasons": [{"text": CONTROL}],
    "stuck": [CONTROL],
    "timeline": [{"at": CONTROL, "parent": CONTROL, "what": CONTROL, "text": CONTROL}],
    "parents": [PARENT],
}
Serve = Callable[[bytes], dict[str, str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer every connection with these bytes; returns the environment of a command that asks."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run(answer: bytes) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(10_000)
                    connection.sendall(answer)

    def start(answer: bytes) -> dict[str, str]:
        threading.Thread(target=run, args=(answer,), daemon=True).start()
        return {"RUNQY_HTTP_ADDR": f"127.0.0.1:{listener.getsockname()[1]}"}

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _http(content: Any, status: int = 200) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return b"HTTP/1.1 %d Whatever\r\n\r\n%b" % (status, body)


NO_WORKERS = {
    "another program": _http({"status": "ok"}),
    "an empty object": _http({}),
    "a list": _http([]),
    "ready in words": _http(READY | {"ready": "true"}),
    "ready as a number": _http(READY | {"ready": 1}),
    "reasons that are none": _http(READY | {"reasons": [1]}),
    "a page": _http(b"<html>" + CONTROL.encode()),
    "deep nesting": _http(b"[" * 1_000_000),
    "no HTTP": CONTROL.encode() * 100,
    "nothing": b"",
}


@pytest.mark.parametrize("what", NO_WORKERS)
@pytest.mark.parametrize("live", [False, True], ids=["ready", "live"])
def test_health_believes_no_other_programs_answer(
    what: str, live: bool, serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = serve(NO_WORKERS[what])

    assert execute(Options("health", live=live), environ, tmp_path) == Exit.UNHEALTHY

    said = capsys.readouterr().out
    assert "is not a worker" in said
    assert said[:-1].isprintable()


def test_health_believes_a_worker_by_what_it_says(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(Options("health"), serve(_http(READY)), tmp_path) == Exit.OK
    assert capsys.readouterr().out == "ready\n"


def test_reasons_are_no_terminals_commands(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = [{"code": "c", "parent": None, "text": CONTROL}]
    environ = serve(_http(READY | {"ready": False, "reasons": reasons}, 503))

    assert execute(Options("health"), environ, tmp_path) == Exit.UNHEALTHY
    assert capsys.readouterr().out[:-1].isprintable()


ODD: dict[str, tuple[Any, str]] = {
    "worker is null": (STATUS | {"worker": None}, "its answer.worker is not an object"),
    "worker is a number": (STATUS | {"worker": 5}, "its answer.worker is not an object"),
    "parents is an object": (STATUS | {"parents": {}}, "its answer.parents is not a list"),
    "a queue is a text": (
        STATUS | {"parents": [PARENT | {"queues": ["x"]}]},
        "its answer.parents[0].queues[0] is not an object",
    ),
    "an age is NaN": (
        STATUS | {"parents": [PARENT | {"tasks": [{"id": "", "queue": "", "age_s": float("nan")}]}]},
        "its answer.parents[0].tasks[0] has no retried",
    ),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_status_names_what_is_odd(
    odd: str, as_json: bool, serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, problem = ODD[odd]

    assert execute(Options("status", as_json=as_json), serve(_http(answer)), tmp_path) == Exit.UNHEALTHY

    said = capsys.readouterr().err
    assert problem in said
    assert "Traceback" not in said


def test_status_is_no_terminals_command(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(Options("status"), serve(_http(STATUS)), tmp_path) == Exit.OK

    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == 11


def test_an_answer_that_does_not_end_is_not_read_for_ever(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LARGEST_ANSWER_BYTES", 100_000)

    assert execute(Options("status"), serve(b"x" * 10_000_000), tmp_path) == Exit.UNHEALTHY
    assert "is not a worker" in capsys.readouterr().err
