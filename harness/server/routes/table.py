"""All routes: path, whose key it wants, what it does, and how it says no."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.server.git import PREFIX
from harness.server.keys import ADMIN, CLIENT, PUBLIC, WORKER
from harness.server.messages import Request, Response, error, errors
from harness.server.page.guard import told
from harness.server.routes import admin, client, page, switches, worker
from harness.server.services import Parameters, Services

Handle = Callable[[Services, Request, Parameters], Response]


@dataclass(frozen=True)
class Route:
    """One method of one path. ``role`` is whose key it wants, besides the admin's.

    ``admin_alone``: no other key is known there. ``refuse`` writes an error, ``redis_status`` is the status
    where Redis does not answer.
    """

    method: str
    path: str
    role: str
    handle: Handle
    admin_alone: bool = False
    refuse: Callable[..., Response] = errors
    redis_status: int = 500

    def match(self, path: str) -> Mapping[str, str] | None:
        """The path's parameters, None where it is another path."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


ROUTES = (
    Route("POST", "/worker/register", WORKER, worker.register, refuse=error),
    Route("POST", "/queue/add", CLIENT, client.add, redis_status=400),
    Route("POST", "/queue/add-batch", CLIENT, client.add_batch),
    # The id is the key: who knows it may ask.
    Route("GET", "/queue/{id}", PUBLIC, client.task),
    Route("GET", "/workers", ADMIN, admin.list_workers),
    Route("GET", "/workers/{id}", ADMIN, admin.one_worker),
    Route("GET", "/api/queues/{queue}/tasks", ADMIN, admin.list_tasks, admin_alone=True),
    Route("GET", "/health", PUBLIC, admin.health),
    Route("GET", "/healthz", PUBLIC, admin.health_of_all),
    # Who may see these is the business of harness.server.page.guard.
    Route("GET", "/", PUBLIC, page.show, refuse=told),
    Route("GET", "/_harness/page/live", PUBLIC, page.live, refuse=told),
    Route("POST", "/_harness/page/send", PUBLIC, page.send, refuse=told),
    Route("GET", "/_harness/faults", ADMIN, switches.faults),
    Route("POST", "/_harness/faults", ADMIN, switches.add_fault),
    Route("DELETE", "/_harness/faults", ADMIN, switches.clear_faults),
    Route("GET", "/_harness/complaints", ADMIN, switches.complaints),
    Route("GET", "/_harness/requests", ADMIN, switches.requests),
    Route("GET", "/_harness/redis", ADMIN, switches.redis_url),
    Route("GET", "/_harness/view", ADMIN, switches.view),
)
#: What paths that the real server does not have begin with, but for the page.
OURS = "/_harness/"
#: The route of everything git asks for.
GIT = f"{PREFIX}{{repository}}"
#: Those that can be made faulty: all that the real server has.
FAULTY = (*(route.path for route in ROUTES if route.path != "/" and not route.path.startswith(OURS)), GIT)


def find(method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
    """The route of a request with the path's parameters; None where there is none."""
    for route in ROUTES:
        parameters = route.match(path) if route.method == method else None
        if parameters is not None:
            return route, parameters
    return None
