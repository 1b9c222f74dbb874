"""What is served where: probes, metrics, status and page, each made from one snapshot per request."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import gevent

from appliance.clock import Clock
from appliance.observe.fresh import Fresh
from appliance.observe.http import HttpServer, Request, Response, not_found
from appliance.observe.readiness import liveness, readiness, reasons, startedness
from appliance.observe.recent import Line
from appliance.observe.timeline import Moment
from appliance.snapshot import WorkerSnapshot
from appliance.values import value_class

#: Seconds that a page or a scrape waits for Redis to say how many tasks are where, then it does without.
REFRESH_S = 0.5
#: Seconds for which metrics, and what ``/status`` and the page show, are not made again: scrapers and people
#: look less often, and a flood of requests shall cost tasks nothing. Probes get an answer of their moment.
METRICS_FOR_S, CONTENT_FOR_S = 1.0, 0.5


@value_class
class Sources:
    """What the pages are made from. ``refresh`` asks Redis and may take as long as Redis does."""

    snapshot: Callable[[], WorkerSnapshot]
    refresh: Callable[[], None]
    moments: Callable[[], Sequence[Moment]]
    lines: Callable[[], Sequence[Line]]
    redact: Callable[[str], str]


class Endpoints:
    """Serves ``sources`` on ``addr`` (``host:port``)."""

    def __init__(self, addr: str, sources: Sources, clock: Clock) -> None:
        self._sources = sources
        self._server = HttpServer(addr, self.answer, clock)
        self._rendered = Fresh(self._render_metrics, METRICS_FOR_S, clock)
        self._content = Fresh(self._make_content, CONTENT_FOR_S, clock)
        self._shown = Fresh(self._render_page, CONTENT_FOR_S, clock)
        self._pages: dict[str, Callable[[Request], Response]] = {
            "/": self._page,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/startedz": self._startedz,
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
        live = liveness(self._sources.snapshot())
        return _json(200 if live["live"] else 503, live)

    def _readyz(self, _: Request) -> Response:
        ready = readiness(self._sources.snapshot())
        return _json(200 if ready["ready"] else 503, ready)

    def _startedz(self, _: Request) -> Response:
        started = startedness(self._sources.snapshot())
        return _json(200 if started["started"] else 503, started)

    def _metrics(self, _: Request) -> Response:
        return self._rendered.get()

    def _render_metrics(self) -> Response:
        from appliance.observe import metrics  # noqa: PLC0415  see prepare

        self._refresh()
        snapshot = self._sources.snapshot()
        return Response(200, metrics.CONTENT_TYPE, metrics.render(snapshot, ready=not reasons(snapshot)))

    def _status(self, request: Request) -> Response:
        # The page fetches itself again from here: what is shown is made, and escaped, in one place.
        if request.accept.startswith("text/html"):
            return self._page(request)
        return _json(200, self._content.get())

    def _page(self, _: Request) -> Response:
        return self._shown.get()

    def _render_page(self) -> Response:
        from appliance.observe import page  # noqa: PLC0415  see prepare

        content = page.render(self._content.get()).encode(errors="replace")
        return Response(200, "text/html; charset=utf-8", content, page.HEADERS)

    def _make_content(self) -> dict[str, Any]:
        from appliance.observe.status import status  # noqa: PLC0415  see prepare

        sources = self._sources
        self._refresh()
        return status(sources.snapshot(), sources.moments(), sources.lines(), sources.redact)

    def _refresh(self) -> None:
        """Let Redis say how many tasks are where, if it does so in time."""
        gevent.spawn(self._sources.refresh).join(REFRESH_S)


def _json(status: int, content: dict[str, Any]) -> Response:
    # ASCII: a task's id may hold what is no character.
    return Response(status, "application/json", json.dumps(content).encode() + b"\n")
