"""A small HTTP server for probes, scrapers and people. It only reads: nothing can be changed through it.

Built for strangers on the other end, beside tasks that must not suffer from them: what they send is bounded
in size and time, of too many connections the oldest makes room, so that a probe is always answered, and so
many are accepted a second; the others wait in the kernel. A connection serves one request.
"""

import socket
from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Any

import gevent
import gevent.socket
import structlog
from gevent.pool import Pool

from appliance.clock import TURN_S, Clock
from appliance.errors import StartupError
from appliance.observe.allowance import Allowance
from appliance.values import value_class

log = structlog.get_logger()

#: Most bytes of a request's head, and seconds for the whole of it.
LARGEST_HEAD_BYTES = 8_192
PATIENCE_S = 5.0
#: Most connections at a time.
MOST_CONNECTIONS = 32
#: Part of the event loop's time that clients may have, and seconds of it at once: tasks shall have the rest.
SHARE, BURST_S = 0.05, 0.1
#: What a connection costs at least, in seconds; hence at most 200 a second, and 400 at once. On a busy
#: machine it costs more: so many times what its arrival and its answer took, the rest being the loop's.
COST_S, _COST_OF_ARRIVAL, _COST_OF_ANSWER = 0.000_25, 6.0, 3.0
#: Most that is counted for an arrival, and for an answer: that may wait for Redis or for a slow reader, while
#: tasks have the loop.
_MOST_COST_S, _MOST_COST_OF_ANSWER_S = 0.1, 0.02
#: Connections that wait in the kernel.
_BACKLOG = 128
#: Seconds until the next try where the machine has no descriptor or memory left for a connection.
EXHAUSTED_DELAY_S = 0.5
#: Seconds between two defects that are logged, each with its traceback.
_DEFECT_EVERY_S = 1.0

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@value_class
class Request:
    """What was asked for: ``path`` without its query, ``accept`` is that header, or empty."""

    path: str
    accept: str = ""


@value_class
class Response:
    """An answer; ``headers`` are beside the ones every answer has."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = field(default=())


Answer = Callable[[Request], Response]


class HttpServer:
    """Listens on ``addr`` (``host:port``) and has ``answer`` called for every GET and HEAD."""

    def __init__(self, addr: str, answer: Answer, clock: Clock) -> None:
        self._addr = addr
        self._answer = answer
        self._clock = clock
        self._allowance = Allowance(SHARE, BURST_S)
        self._defects = Allowance(1 / _DEFECT_EVERY_S, 1)
        self._listener: socket.socket | None = None
        self._accepting: Any = None
        self._pool = Pool(MOST_CONNECTIONS)
        #: Those of the pool, oldest first.
        self._connections: dict[Any, socket.socket] = {}

    def start(self) -> None:
        """Listen from now on; raises :class:`~appliance.errors.StartupError` where that is not possible."""
        host, _, port = self._addr.rpartition(":")
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            plain = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        except OSError as exc:
            reason = (exc.strerror or str(exc)).partition(" (while")[0]  # what follows is the address again
            raise StartupError(f"RUNQY_HTTP_ADDR={self._addr!r}: cannot listen there: {reason}") from exc
        # Ours whether the program is patched or not: accepting must not block the others.
        self._listener = gevent.socket.socket(fileno=plain.detach())
        self._accepting = gevent.spawn(self._accept_all, self._listener)
        log.info("http.listening", addr=self._addr)

    def stop(self) -> None:
        """Hang up on everybody and listen no more. Idempotent."""
        if self._accepting is not None:
            self._accepting.kill()
        if self._listener is not None:
            self._listener.close()
        self._pool.kill()
        for greenlet in list(self._connections):
            self._ended(greenlet)

    def _accept_all(self, listener: socket.socket) -> None:
        exhausted = False
        while True:
            while wait_s := self._allowance.wait_s(self._clock.monotonic()):
                gevent.sleep(wait_s)
            try:
                connection, _ = listener.accept()
            except OSError as exc:
                # No descriptor, no memory: the machine's trouble, which can pass. What we hold goes first.
                if not exhausted:
                    consequence = "probes and scrapes wait"
                    log.warning("http.exhausted", error=exc.strerror or str(exc), consequence=consequence)
                exhausted = True
                # What was accepted a moment ago, and whose request is here, is answered by this.
                gevent.sleep(TURN_S)
                self._make_room()
                gevent.sleep(EXHAUSTED_DELAY_S)
                continue
            if exhausted:
                log.info("http.accepting_again")
                exhausted = False
            took_s = 0.0
            while self._pool.full():
                # Those whose request is here are answered by this, and need not go; who was told to, goes.
                gevent.sleep(TURN_S)
                if self._pool.full():
                    took_s += self._timed(self._make_room)
            took_s += self._timed(partial(self._begin, connection))
            self._allowance.spend(min(max(COST_S, _COST_OF_ARRIVAL * took_s), _MOST_COST_S))

    def _timed(self, work: Callable[[], object]) -> float:
        """Seconds of what holds the loop; on a busy machine those in which others had the processor, too."""
        begun_s = self._clock.monotonic()
        work()
        return self._clock.monotonic() - begun_s

    def _begin(self, connection: socket.socket) -> None:
        greenlet = self._pool.spawn(self._attend, connection)
        self._connections[greenlet] = connection
        greenlet.link(self._ended)

    def _ended(self, greenlet: Any) -> None:
        # Here and not only where it is served: one that was killed before it began has not been.
        connection = self._connections.pop(greenlet, None)
        if connection is not None:
            connection.close()

    def _make_room(self) -> None:
        """End the oldest connection."""
        oldest = next(iter(self._connections), None)
        if oldest is not None:
            # Not waited for: it ends in the loop's next turn.
            oldest.kill(block=False)
            self._ended(oldest)

    def _attend(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._serve(connection)
        except OSError:
            return  # they have gone

    def _serve(self, connection: socket.socket) -> None:
        with gevent.Timeout(PATIENCE_S, False):  # type: ignore[arg-type]
            head = _read_head(connection)
            begun_s = self._clock.monotonic()
            method, response = self._respond(head)
            connection.sendall(_encode(response, with_body=method != "HEAD"))
            cost_s = _COST_OF_ANSWER * (self._clock.monotonic() - begun_s)
            self._allowance.spend(min(max(cost_s - COST_S, 0.0), _MOST_COST_OF_ANSWER_S))
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
            # Each is the same, and a flood of requests shall be none of the log.
            if not self._defects.wait_s(self._clock.monotonic()):
                self._defects.spend(1)
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
