"""The worker's face to the outside: what is served where, made from one report a request."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gevent

from appliance.observe.http import HttpServer, Request, Response, not_found
from appliance.observe.readiness import liveness, readiness, reasons
from appliance.observe.recent import Line
from appliance.observe.report import WorkerReport
from appliance.observe.timeline import Moment

#: Seconds that a page waits for Redis to say how many tasks are where; after that it does without.
REFRESH_S = 0.5


@dataclass(frozen=True)
class Sources:
    """What the pages are made from. ``refresh`` asks Redis and may take as long as Redis does."""

    report: Callable[[], WorkerReport]
    refresh: Callable[[], None]
    moments: Callable[[], Sequence[Moment]]
    lines: Callable[[], Sequence[Line]]
    redact: Callable[[str], str]


class Face:
    """Serves ``sources`` on ``addr`` (``host:port``)."""

    def __init__(self, addr: str, sources: Sources) -> None:
        self._sources = sources
        self._server = HttpServer(addr, self.answer)
        self._pages: dict[str, Callable[[Request], Response]] = {
            "/": self._page,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/status": self._status,
        }

    def prepare(self) -> None:
        """Import what the pages need beyond the probes; that takes a while."""
        from appliance.observe import metrics, page  # noqa: F401, PLC0415

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
        live = liveness(self._sources.report())
        return _json(200 if live["live"] else 503, live)

    def _readyz(self, _: Request) -> Response:
        ready = readiness(self._sources.report())
        return _json(200 if ready["ready"] else 503, ready)

    def _metrics(self, _: Request) -> Response:
        from appliance.observe import metrics  # noqa: PLC0415  see prepare

        report = self._sources.report()
        return Response(200, metrics.CONTENT_TYPE, metrics.render(report, ready=not reasons(report)))

    def _status(self, request: Request) -> Response:
        # The page asks for itself anew here: what is shown is made, and escaped, in one place.
        if request.accept.startswith("text/html"):
            return self._page(request)
        return _json(200, self._content())

    def _page(self, _: Request) -> Response:
        from appliance.observe import page  # noqa: PLC0415  see prepare

        content = page.render(self._content()).encode(errors="replace")
        return Response(200, "text/html; charset=utf-8", content, page.HEADERS)

    def _content(self) -> dict[str, Any]:
        from appliance.observe.status import status  # noqa: PLC0415  see prepare

        sources = self._sources
        asking = gevent.spawn(sources.refresh)
        asking.join(REFRESH_S)
        return status(sources.report(), sources.moments(), sources.lines(), sources.redact)


def _json(status: int, content: dict[str, Any]) -> Response:
    # ASCII: a task's id may hold what is no character.
    return Response(status, "application/json", json.dumps(content).encode() + b"\n")
