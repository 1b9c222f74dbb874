"""The worker's face to the outside: what is served where, made from one report a request."""

import json
from collections.abc import Callable
from typing import Any

from appliance.observe.http import HttpServer, Request, Response, not_found
from appliance.observe.readiness import liveness, readiness
from appliance.observe.report import WorkerReport


class Face:
    """Serves ``report()`` on ``addr`` (``host:port``)."""

    def __init__(self, addr: str, report: Callable[[], WorkerReport]) -> None:
        self._report = report
        self._server = HttpServer(addr, self.answer)
        self._pages: dict[str, Callable[[Request], Response]] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
        }

    def start(self) -> None:
        """Listen; raises :class:`~appliance.errors.StartupError` where that is not possible."""
        self._server.start()

    def stop(self) -> None:
        """Listen no more. Idempotent."""
        self._server.stop()

    def answer(self, request: Request) -> Response:
        """The answer to ``request``."""
        page = self._pages.get(request.path)
        return page(request) if page else not_found(", ".join(self._pages))

    def _livez(self, _: Request) -> Response:
        live = liveness(self._report())
        return _json(200 if live["live"] else 503, live)

    def _readyz(self, _: Request) -> Response:
        ready = readiness(self._report())
        return _json(200 if ready["ready"] else 503, ready)


def _json(status: int, content: dict[str, Any]) -> Response:
    # ASCII: a task's id may hold what is no character.
    return Response(status, "application/json", json.dumps(content).encode() + b"\n")
