"""The page for people at ``/``, what keeps it fresh, and its form; the real server has none of it."""

from dataclasses import replace

import redis

from harness.server.messages import Refused, Request, Response
from harness.server.page import form, guard
from harness.server.page.page import PAGE_HEADERS
from harness.server.page.view import View
from harness.server.routes import client
from harness.server.services import Parameters, Services

HTML = "text/html; charset=utf-8"


def show(services: Services, request: Request, _: Parameters) -> Response:
    """``GET /``, with a :class:`~harness.server.page.view.View` as its query."""
    refused = guard.refusal(request, services.page.key)
    return refused or _page(services, 200, View.of(request.query), form.Form())


def live(services: Services, request: Request, _: Parameters) -> Response:
    """``GET /_harness/page/live`` with the same query: server-sent events."""
    refused = guard.refusal(request, services.page.key)
    stream = services.page.live(View.of(request.query))
    return refused or Response(200, b"", "text/event-stream; charset=utf-8", guard.HEADERS, stream)


def send(services: Services, request: Request, _: Parameters) -> Response:
    """``POST /_harness/page/send``: the form's task, then the page about it."""
    refused = guard.refusal(request, services.page.key)
    if refused is not None:
        return refused
    sent = form.read(request.body)
    try:
        message = client.enqueue(services, sent.queue, form.payload(sent), form.timeout_s(sent))
    except Refused as exc:
        return _page(services, exc.status, View(), replace(sent, problem=str(exc)))
    except redis.RedisError as exc:
        return _page(services, 503, View(), replace(sent, problem=f"Redis: {exc}"))
    there = View(queue=message["queue"], task=message["id"])
    # Another GET, so that the browser's "reload" sends nothing again.
    return Response(303, b"", guard.TEXT, {**guard.HEADERS, "Location": there.url})


def _page(services: Services, status: int, view: View, sent: form.Form) -> Response:
    document = services.page.document(view, sent, services.state.queues)
    return Response(status, document.encode(errors="replace"), HTML, PAGE_HEADERS)
