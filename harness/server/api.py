"""From a request to its answer: the fault it meets, its key, its route, and what may go wrong there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import redis

from harness.server import keys, strictness
from harness.server.faults import GARBAGE, Fault
from harness.server.git import PREFIX
from harness.server.keys import Keys
from harness.server.messages import Refused, Request, Response, errors
from harness.server.routes import table
from harness.server.services import Parameters, Services

NOT_FOUND = Response(404, b"404 page not found", "text/plain")


@dataclass(frozen=True)
class Answered:
    """A response with what is to be remembered of its request."""

    response: Response
    role: str = ""
    complaints: Sequence[str] = ()


class Api:
    """Answers requests with ``services``, for those who have one of ``known`` keys."""

    def __init__(self, services: Services, known: Keys) -> None:
        self.services = services
        self._keys = known

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that a request is to meet; counts it."""
        faults = self.services.state.faults
        if path.startswith(PREFIX):
            return faults.take(table.GIT)
        found = table.find(method, path)
        return faults.take(found[0].path) if found else None

    def answer(self, request: Request, fault: Fault | None = None) -> Answered:
        """Answer ``request``, ``fault`` permitting; whatever goes wrong becomes a response."""
        found = table.find(request.method, request.path)
        if fault is not None and fault.answers:
            return Answered(_spoiled(fault, found[0] if found else None))
        if found is None:
            return Answered(NOT_FOUND, complaints=[f"there is no {request.method} {request.path}"])
        route, parameters = found
        role = self._keys.role(keys.presented(request.headers))
        refusal = keys.refusal(role, route.role, admin_alone=route.admin_alone)
        if refusal is not None:
            return Answered(errors(*refusal), role)
        response = _handled(route, self.services, request, parameters)
        return Answered(response, role, strictness.complaints(request))


def _handled(route: table.Route, services: Services, request: Request, parameters: Parameters) -> Response:
    try:
        return route.handle(services, request, parameters)
    except Refused as exc:
        return route.refuse(exc.status, *exc.problems)
    except redis.RedisError as exc:
        return route.refuse(route.redis_status, str(exc))


def _spoiled(fault: Fault, route: table.Route | None) -> Response:
    if fault.garbage:
        return Response(fault.status or 200, GARBAGE, headers=fault.headers)
    status = fault.status or 500
    refuse = route.refuse if route and status not in keys.REFUSALS else errors
    return replace(refuse(status, "a fault the harness was told to make"), headers=fault.headers)
