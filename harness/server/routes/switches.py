"""The harness's own routes, below ``/_harness/``: faults, and what was seen.

The real server has none of them.
"""

from dataclasses import asdict

from harness.server import bodies
from harness.server.faults import from_json
from harness.server.messages import Refused, Request, Response, json_response
from harness.server.services import Parameters, Services


def faults(services: Services, _: Request, __: Parameters) -> Response:
    """``GET /_harness/faults``: those that are on."""
    return json_response(200, {"faults": services.state.faults.left()})


def add_fault(services: Services, request: Request, _: Parameters) -> Response:
    """``POST /_harness/faults`` with ``path`` and the fields of :class:`~harness.server.faults.Fault`."""
    body = dict(bodies.json_object(request.body))
    path = body.pop("path", None)
    try:
        services.state.faults.add(path, from_json(body))
    except ValueError as exc:
        raise Refused(400, str(exc)) from exc
    return json_response(200, {"faults": services.state.faults.left()})


def clear_faults(services: Services, request: Request, _: Parameters) -> Response:
    """``DELETE /_harness/faults``, of all paths or of ``?path=``."""
    try:
        services.state.faults.clear(request.query.get("path"))
    except ValueError as exc:
        raise Refused(400, str(exc)) from exc
    return json_response(200, {"faults": services.state.faults.left()})


def complaints(services: Services, _: Request, __: Parameters) -> Response:
    """``GET /_harness/complaints``: what was sent that must not be, and what is wrong in Redis now."""
    sent = [asdict(complaint) for complaint in services.state.complaints]
    return json_response(200, {"complaints": sent, "heartbeats": services.overview.heartbeat_problems()})


def requests(services: Services, _: Request, __: Parameters) -> Response:
    """``GET /_harness/requests``: what was asked, without keys and bodies."""
    asked = [
        {name: value for name, value in asdict(request).items() if name != "body"}
        for request in services.state.requests
    ]
    return json_response(200, {"requests": asked})


def redis_url(services: Services, _: Request, __: Parameters) -> Response:
    """``GET /_harness/redis``: the Redis, as this server reaches it."""
    return json_response(200, {"url": services.redis_url_here})


def view(services: Services, _: Request, __: Parameters) -> Response:
    """``GET /_harness/view``: workers, depths of queues, and the tasks that ended last."""
    return json_response(200, services.overview.everything(services.state.parents))
