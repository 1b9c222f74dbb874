"""Reads requests and writes responses; what is answered is decided elsewhere."""

import contextlib
import socket
import time
from collections.abc import Generator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from harness.server.api import Answered
from harness.server.bodies import json_object
from harness.server.faults import NOTHING, SLOW_PIECES, Fault
from harness.server.git import PREFIX
from harness.server.listener import Listener
from harness.server.messages import Refused, Request, Response
from harness.server.state import Recorded

#: Bytes a request's body may have.
LARGEST_BODY = 64 * 1024 * 1024
#: What is asked for too often to be remembered, beside the page: by git, and to keep the page fresh.
UNRECORDED = (PREFIX, "/_harness/page/")
#: Seconds a connection may be idle.
IDLE_TIMEOUT_S = 120


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
        # Blanks around a value are no part of it (RFC 9110), a key not excepted.
        headers = {name.lower(): value.strip() for name, value in self.headers.items()}
        fault = self.server.api.fault(self.command, url.path)
        if fault is not None:
            self.server.services.stopping.wait(fault.delay_s)
        drop = fault.drop if fault is not None else None
        body = b"" if drop == "unread" else self._body(headers)
        if body is None:
            return
        query = dict(parse_qsl(url.query))
        request = Request(self.command, url.path, query, headers, body, str(self.client_address[0]))
        dropped = Answered(Response(0, b""))
        answered = dropped if drop in {"unread", "undone"} else self._answered(request, fault)
        if drop == "unanswered":
            answered = replace(answered, response=dropped.response)
        # Recorded before it is sent: who has the answer may look at the record at once.
        if not request.path.startswith(UNRECORDED) and request.path != "/":
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
                body = json_object(request.body)
            except Refused:
                body = request.body
        self.server.services.state.record(
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
        if response.stream is not None:
            self._send_stream(response, response.stream)
            return
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

    def _send_stream(self, response: Response, stream: Generator[bytes, None, None]) -> None:
        self.close_connection = True
        self.send_response_only(response.status)
        for name, value in {**response.headers, "Content-Type": response.content_type}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.closing(stream):
            for piece in stream:
                self.wfile.write(piece)

    def _write(self, body: bytes, over_s: float) -> None:
        size = -(-len(body) // SLOW_PIECES) if over_s else len(body)
        for start in range(0, len(body), size or 1):
            if over_s and self.server.services.stopping.wait(over_s / SLOW_PIECES):
                return
            self.wfile.write(body[start : start + size])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the parent's name
        """Requests are recorded, not printed."""
