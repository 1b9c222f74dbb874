"""The server under the worker's face: over real sockets, with clients that mean no good."""

import contextlib
import errno
import socket
import time
from collections.abc import Iterator
from typing import ClassVar

import gevent.socket
import pytest
from structlog.testing import capture_logs

from appliance.clock import SystemClock
from appliance.errors import StartupError
from appliance.observe import http
from appliance.observe.http import HttpServer, Request, Response
from harness import wait
from harness.sandbox.ports import free_port


def _answer(request: Request) -> Response:
    if request.path == "/broken":
        raise RuntimeError("a defect")
    if request.path == "/large":
        return Response(200, "text/plain", b"x" * 3_000_000)
    return Response(200, "text/plain", f"{request.path} {request.accept}".encode(), (("X-Own", "1"),))


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    server = HttpServer(f"127.0.0.1:{number}", _answer, SystemClock())
    server.start()
    yield number
    server.stop()


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


def _exchange(port: int, request: bytes) -> bytes:
    with _connect(port) as connection:
        connection.sendall(request)
        return _rest(connection)


def _rest(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65_536):
            received += chunk
    return received


def test_a_request_is_answered_with_what_its_path_has(port: int) -> None:
    answer = _exchange(port, b"GET /x?y=1 HTTP/1.1\r\nHost: anything\r\nACCEPT: text/html\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"HTTP/1.1 200 OK"
    assert b"X-Own: 1" in head
    assert b"Connection: close" in head
    assert body == b"/x text/html"


def test_a_request_may_come_in_pieces(port: int) -> None:
    with _connect(port) as connection:
        for piece in (b"GE", b"T / HTT", b"P/1.1\r\n", b"\r", b"\n"):
            connection.sendall(piece)
            time.sleep(0.01)  # so that they arrive as pieces
        assert b"200 OK" in _rest(connection)


def test_head_is_get_without_the_body(port: int) -> None:
    answer = _exchange(port, b"HEAD /x HTTP/1.1\r\n\r\n")

    assert b"Content-Length: 3" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_large_answer_arrives_whole(port: int) -> None:
    assert _exchange(port, b"GET /large HTTP/1.1\r\n\r\n").endswith(b"x" * 3_000_000)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"])
def test_nothing_but_get_and_head_is_allowed(port: int, method: str) -> None:
    answer = _exchange(port, f"{method} / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody".encode())

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD" in answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / SPDY\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_garbage_is_refused(port: int, garbage: bytes) -> None:
    assert _exchange(port, garbage).startswith(b"HTTP/1.1 400 ")


def test_a_head_that_does_not_end_is_refused(port: int) -> None:
    assert _exchange(port, b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000).startswith(b"HTTP/1.1 431 ")


def test_a_defect_is_logged_and_the_next_request_answered(port: int) -> None:
    with capture_logs() as logged:
        answer = _exchange(port, b"GET /broken HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"RuntimeError" not in answer
    assert [entry["event"] for entry in logged] == ["http.defect"]
    assert b"200 OK" in _exchange(port, b"GET / HTTP/1.1\r\n\r\n")


def test_who_says_nothing_is_hung_up_on(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE_S", 0.2)
    with _connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert _rest(connection) == b""


def test_with_too_many_connections_the_oldest_makes_room(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE_S", 60.0)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(_connect(port)) for _ in range(3 * http.MOST_CONNECTIONS)]
        assert b"200 OK" in _exchange(port, b"GET / HTTP/1.1\r\n\r\n")
        assert _rest(silent[0]) == b""
        silent[-1].sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"200 OK" in _rest(silent[-1])


def test_stopping_hangs_up_and_frees_the_port() -> None:
    number = free_port()
    server = HttpServer(f"127.0.0.1:{number}", _answer, SystemClock())
    server.start()
    with _connect(number) as connection:
        connection.sendall(b"GET")
        server.stop()
        server.stop()
        assert _rest(connection) == b""
    again = HttpServer(f"127.0.0.1:{number}", _answer, SystemClock())
    wait.until(lambda: again.start() is None, 60, "the port to be free")
    again.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_in_use_is_a_start_up_error_that_names_the_variable(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addr = f"{host}:{taken.getsockname()[1]}"
        with pytest.raises(
            StartupError, match=r"RUNQY_HTTP_ADDR=.*: cannot listen there: Address already in use"
        ):
            HttpServer(addr, _answer, SystemClock()).start()


def test_a_host_that_is_not_this_machine_is_a_start_up_error() -> None:
    with pytest.raises(StartupError, match=r"RUNQY_HTTP_ADDR='192.0.2.1:8686': cannot listen there"):
        HttpServer("192.0.2.1:8686", _answer, SystemClock()).start()


class _Stopped(SystemClock):
    now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


def test_who_comes_after_the_clients_share_is_used_waits_for_time_to_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "BURST_S", 10 * http.COST_S)
    clock, number = _Stopped(), free_port()
    server = HttpServer(f"127.0.0.1:{number}", _answer, clock)
    server.start()
    try:
        for _ in range(10):
            assert b"200 OK" in _exchange(number, b"GET / HTTP/1.1\r\n\r\n")
        with _connect(number) as waiting:
            waiting.sendall(b"GET / HTTP/1.1\r\n\r\n")
            waiting.settimeout(0.5)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            clock.now_s += 60
            waiting.settimeout(30)
            assert b"200 OK" in _rest(waiting)
    finally:
        server.stop()


def test_who_got_the_last_descriptor_is_answered() -> None:
    """Accepting fails at once where there is none left, before whom it let in last had a turn."""
    server = HttpServer("127.0.0.1:1", _answer, SystemClock())
    ours, theirs = gevent.socket.socketpair()

    class Listener:
        accepted: ClassVar = [ours]

        def accept(self) -> tuple[socket.socket, str]:
            if self.accepted:
                return self.accepted.pop(), ""
            raise OSError(errno.EMFILE, "Too many open files")

    with theirs:
        theirs.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        accepting = gevent.spawn(server._accept_all, Listener())
        try:
            theirs.settimeout(10)
            assert _rest(theirs).startswith(b"HTTP/1.1 200 OK")
        finally:
            accepting.kill()
            server.stop()
