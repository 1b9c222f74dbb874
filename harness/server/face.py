"""The HTTP face: connections and bytes; what is answered is decided elsewhere."""

import contextlib
import socket
import socketserver
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from harness.server.api import Answered, Api
from harness.server.bodies import BadRequest, json_object
from harness.server.faults import NOTHING, SLOW_PIECES, Fault
from harness.server.git import PREFIX, Exports
from harness.server.messages import JSON, Request, Response
from harness.server.state import Recorded, State
from harness.server.store import Store

#: Bytes a request's body may have.
LARGEST_BODY = 64 * 1024 * 1024
#: Seconds a connection may be idle.
IDLE_TIMEOUT_S = 120


class Running:
    """A listener with its thread."""

    def __init__(self, listener: "Listener", store: Store) -> None:
        self._listener = listener
        self._store = store
        # The interval is how long stop() may have to wait for the loop to notice.
        self._thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the door and every connection; long polls end."""
        self._listener.api.stopping.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
        self._listener.cut_connections()
        self._store.close()


class Listener(ThreadingHTTPServer):
    """Accepts connections, a thread each, and can cut them all."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], handler: type["Handler"], state: State, api: Api, exports: Exports
    ) -> None:
        self.state = state
        self.api = api
        self.exports = exports
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without asking DNS for our name, which can take seconds and is of no use here."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, and serve it."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection, and close it."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a defect; a connection that broke is its client's business."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def cut_connections(self) -> None:
        """Close what is open, whatever is going on there."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client was quicker


class Handler(BaseHTTPRequestHandler):
    """One connection: requests in, responses out, each recorded."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_TIMEOUT_S
    server: Listener

    def handle_one_request(self) -> None:
        """Serve a request; a client that went away ends the connection."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def _serve(self) -> None:
        begun = time.monotonic()
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.server.api.fault(self.command, url.path)
        if fault is not None:
            self.server.api.stopping.wait(fault.delay_s)
        drop = fault.drop if fault is not None else None
        body = b"" if drop == "unread" else self._body(headers)
        if body is None:
            return
        request = Request(self.command, url.path, dict(parse_qsl(url.query)), headers, body)
        dropped = Answered(Response(0, b""))
        answered = dropped if drop in {"unread", "undone"} else self._answered(request, fault)
        if drop == "unanswered":
            answered = replace(answered, response=dropped.response)
        # Recorded before it is sent: who has the answer may look at the record at once.
        if not request.path.startswith(PREFIX):
            self._record(request, answered, time.monotonic() - begun)
        if drop is None:
            self._send(answered.response, fault)
        else:
            self._hang_up()

    def _answered(self, request: Request, fault: Fault | None) -> Answered:
        try:
            if request.path.startswith(PREFIX) and not (fault is not None and fault.answers):
                return Answered(self.server.exports.answer(request))
            return self.server.api.answer(request, fault)
        except Exception as exc:  # noqa: BLE001  the client must get an answer, the test must see why
            problem = f"a defect of the harness: {type(exc).__name__}: {exc}"
            response = Response(500, f'{{"errors": ["{type(exc).__name__}"]}}'.encode())
            return Answered(response, complaints=[problem])

    def _hang_up(self) -> None:
        """Close the connection without a word; with what was not read that is a reset."""
        self.close_connection = True
        # The client may have been quicker.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  the parent's names

    def _body(self, headers: dict[str, str]) -> bytes | None:
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdigit() or int(length) > LARGEST_BODY:
            self.close_connection = True
            self._send(Response(413, b'{"errors": ["a body needs a Content-Length, of at most 64 MiB"]}'))
            return None
        return self.rfile.read(int(length))

    def _record(self, request: Request, answered: Answered, took_s: float) -> None:
        body: Any = None
        if request.body:
            try:
                body = json_object(JSON, request.body)
            except BadRequest:
                body = request.body
        self.server.state.record(
            Recorded(
                at_wall_s=time.time(),
                method=request.method,
                path=request.path,
                role=answered.role,
                status=answered.response.status,
                took_s=took_s,
                body=body,
            ),
            answered.complaints,
        )

    def _send(self, response: Response, fault: Fault | None = None) -> None:
        fault = fault or NOTHING
        body = response.body.ljust(fault.huge_bytes or 0)
        truncated = fault.truncate_bytes is not None and fault.truncate_bytes < len(body)
        self.close_connection = self.close_connection or truncated
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", fault.content_type or response.content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self._write(body[: fault.truncate_bytes], fault.slow_s)

    def _write(self, body: bytes, over_s: float) -> None:
        size = -(-len(body) // SLOW_PIECES) if over_s else len(body)
        for start in range(0, len(body), size or 1):
            if over_s and self.server.api.stopping.wait(over_s / SLOW_PIECES):
                return
            self.wfile.write(body[start : start + size])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the parent's name
        """Requests are recorded, not printed."""
