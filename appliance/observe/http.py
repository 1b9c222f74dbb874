"""A small HTTP server for probes, scrapers and people. It only reads: nothing can be changed through it.

Built for strangers on the other end: what they send is bounded in size and time, and of too many
connections the oldest makes room, so that a probe is always answered. A connection serves one request.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
import structlog
from gevent.server import StreamServer

from appliance.errors import StartupError

log = structlog.get_logger()

#: Most bytes of a request's head, and seconds for the whole of it.
LARGEST_HEAD_BYTES = 8_192
PATIENCE_S = 5.0
#: Most connections at a time.
MOST_CONNECTIONS = 32

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Request:
    """What was asked for: ``path`` without its query, ``accept`` is that header, or empty."""

    path: str
    accept: str = ""


@dataclass(frozen=True)
class Response:
    """An answer; ``headers`` are beside the ones every answer has."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = field(default=())


Answer = Callable[[Request], Response]


class HttpServer:
    """Listens on ``addr`` (``host:port``) and has ``answer`` called for every GET and HEAD."""

    def __init__(self, addr: str, answer: Answer) -> None:
        self._addr = addr
        self._answer = answer
        self._server: StreamServer | None = None
        self._connections: dict[Any, None] = {}

    def start(self) -> None:
        """Listen from now on; raises :class:`~appliance.errors.StartupError` where that is not possible."""
        host, _, port = self._addr.rpartition(":")
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.create_server(address[:2], family=family, backlog=128)
        except OSError as exc:
            reason = (exc.strerror or str(exc)).partition(" (while")[0]  # what follows is the address again
            raise StartupError(f"RUNQY_HTTP_ADDR={self._addr!r}: cannot listen there: {reason}") from exc
        self._server = StreamServer(listener, self._accept)
        self._server.start()
        log.info("http.listening", addr=self._addr)

    def stop(self) -> None:
        """Hang up on everybody and listen no more. Idempotent."""
        if self._server is not None:
            self._server.close()
        gevent.killall(list(self._connections))

    def _accept(self, connection: socket.socket, _address: object) -> None:
        me = gevent.getcurrent()
        if len(self._connections) >= MOST_CONNECTIONS:
            next(iter(self._connections)).kill(block=False)
        self._connections[me] = None
        try:
            with connection:
                self._serve(connection)
        except OSError:
            return  # they have gone
        finally:
            self._connections.pop(me, None)

    def _serve(self, connection: socket.socket) -> None:
        with gevent.Timeout(PATIENCE_S, False):  # type: ignore[arg-type]
            method, response = self._respond(_read_head(connection))
            connection.sendall(_encode(response, with_body=method != "HEAD"))
            # Closing with something unread would reset the connection, and they might lose the answer.
            connection.shutdown(socket.SHUT_WR)
            left = LARGEST_HEAD_BYTES
            while left > 0 and (chunk := connection.recv(left)):
                left -= len(chunk)

    def _respond(self, head: bytes | None) -> tuple[str, Response]:
        if head is None:
            return "", _text(431, f"a request's head may have {LARGEST_HEAD_BYTES} bytes\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
            return "", _text(400, "this is an HTTP/1.1 server for GET and HEAD\n")
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            refusal = "only GET and HEAD: nothing can be changed here\n"
            return method, _text(405, refusal, ("Allow", "GET, HEAD"))
        headers = dict(field.partition(":")[::2] for field in fields)
        accept = next((value.strip() for name, value in headers.items() if name.lower() == "accept"), "")
        try:
            return method, self._answer(Request(target.partition("?")[0], accept))
        except Exception:
            log.exception("http.defect", path=target[:100])
            return method, _text(500, "a defect of the worker's; its log has a traceback\n")


def not_found(paths: str) -> Response:
    """The answer to a path there is nothing at; ``paths`` says what there is."""
    return _text(404, f"there is nothing here; try {paths}\n")


def _text(status: int, text: str, *headers: tuple[str, str]) -> Response:
    return Response(status, "text/plain; charset=utf-8", text.encode(), headers)


def _read_head(connection: socket.socket) -> bytes | None:
    """The bytes before the empty line, b"" where they never came; None where there are too many."""
    received = b""
    while b"\r\n\r\n" not in received:
        if len(received) > LARGEST_HEAD_BYTES:
            return None
        chunk = connection.recv(LARGEST_HEAD_BYTES)
        if not chunk:
            return b""
        received += chunk
    return received.partition(b"\r\n\r\n")[0]


def _encode(response: Response, *, with_body: bool) -> bytes:
    headers = (
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *response.headers,
    )
    lines = [f"HTTP/1.1 {response.status} {_REASONS[response.status]}", *(f"{n}: {v}" for n, v in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (response.body if with_body else b"")
