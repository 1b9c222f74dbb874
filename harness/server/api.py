"""The routes: what each path does, whose key it wants, and how it says no.

Source: the runqy server's public HTTP API, as far as a worker and the SDK's client use it, and
``/_harness/*``, which is ours. Errors are ``{"error": …}`` at registration, ``{"errors": […]}`` elsewhere.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import redis

from harness.server import bodies
from harness.server.bodies import BadRequest, Job
from harness.server.config import registration
from harness.server.faults import GARBAGE, Fault, from_json
from harness.server.git import PREFIX
from harness.server.messages import Request, Response
from harness.server.state import State, UnknownQueue
from harness.server.store import Store

#: A JSON object.
Json = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """A response with what is to be remembered of its request."""

    response: Response
    role: str = ""
    complaints: Sequence[str] = ()


Parameters = Mapping[str, str]


@dataclass(frozen=True)
class Route:
    """One method of one path; ``role`` is whose key it wants, empty for nobody's."""

    method: str
    path: str
    role: str
    handle: Callable[["Api", Request, Parameters], Response]

    def match(self, path: str) -> Parameters | None:
        """The path's parameters, None where it is another path."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


class Api:
    """Answers requests."""

    def __init__(
        self,
        state: State,
        store: Store,
        redis_url: str,
        before_register: Callable[[str], None],
        alter_registration: Callable[[Json], Json],
        wait_s: float,
    ) -> None:
        """``before_register`` is called with the queue's name first; ``wait_s`` bounds a long poll.

        ``alter_registration`` gets a registration's answer and gives the one that is sent.
        """
        self._state = state
        self._store = store
        self._redis_url = redis_url
        self._before_register = before_register
        self._alter_registration = alter_registration
        self._wait_s = wait_s
        self.stopping = threading.Event()

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that a request is to meet; counts it."""
        if path.startswith(PREFIX):
            return self._state.faults.take(GIT)
        of_path = [route for route in ROUTES if route.match(path) is not None]
        asked = next((route for route in of_path if route.method == method), None)
        return self._state.faults.take(asked.path) if asked else None

    def answer(self, request: Request, fault: Fault | None = None) -> Answered:
        """Answer ``request``, ``fault`` permitting; whatever goes wrong becomes a response."""
        if fault is not None and fault.answers:
            return Answered(_spoiled(request.path, fault))
        matches = [(route, found) for route in ROUTES if (found := route.match(request.path)) is not None]
        if not matches:
            problem = f"no such path: {request.path}"
            return Answered(_errors(request.path, 404, problem), complaints=[problem])
        for route, parameters in matches:
            if route.method == request.method:
                return self._guarded(route, request, parameters)
        problem = (
            f"{request.method} is not allowed here, but {', '.join(route.method for route, _ in matches)}"
        )
        return Answered(_errors(request.path, 405, problem), complaints=[problem])

    def _guarded(self, route: Route, request: Request, parameters: Parameters) -> Answered:
        role = self._state.role(_key(request.headers), route.role)
        if route.role and role != route.role:
            status, problem = (403, f"a {role}'s key") if role else (401, "no key, or a wrong one")
            return Answered(_errors(route.path, status, f"{problem}; this wants a {route.role}'s"), role)
        try:
            return Answered(route.handle(self, request, parameters), role)
        except BadRequest as exc:
            return Answered(_errors(route.path, 400, *exc.problems), role, exc.problems)
        except UnknownQueue as exc:
            return Answered(_errors(route.path, 404, str(exc)), role)
        except redis.RedisError as exc:
            return Answered(_errors(route.path, 500, f"Redis: {exc}"), role)

    def register(self, request: Request, _: Parameters) -> Response:
        """``POST /worker/register``."""
        asked = bodies.registering(_object(request))
        self._before_register(asked.queue)
        queue = self._state.queue(asked.queue)
        git_url = queue.git_url
        if git_url.startswith("/git/"):
            # Ours: under whatever name the worker reached us, it reaches the repository too.
            git_url = f"http://{request.headers.get('host', '')}{git_url}"
        return _json(200, self._alter_registration(registration(queue, self._redis_url, git_url)))

    def add(self, request: Request, _: Parameters) -> Response:
        """``POST /queue/add``."""
        name, job = bodies.adding(_object(request))
        queue = self._state.sub_queue(name)
        (task_id,) = self._store.enqueue(queue, [job])
        return _json(200, {"info": self._store.info(task_id), "data": job.payload})

    def add_batch(self, request: Request, _: Parameters) -> Response:
        """``POST /queue/add-batch``: what is wrong with one job does not hold up the others."""
        name, jobs = bodies.batch(_object(request))
        queue = self._state.sub_queue(name)
        good = [job for job in jobs if isinstance(job, Job)]
        bad = [job for job in jobs if isinstance(job, str)]
        task_ids = self._store.enqueue(queue, good) if good else []
        return _json(
            200, {"enqueued": len(task_ids), "failed": len(bad), "task_ids": task_ids, "errors": bad}
        )

    def task(self, request: Request, parameters: Parameters) -> Response:
        """``GET /queue/{id}``, at once or (``?wait=true``) when the task is over."""
        task_id = parameters["id"]
        if request.query.get("wait") == "true":
            info = self._store.info_when_done(task_id, self._wait_s, self.stopping)
        else:
            info = self._store.info(task_id)
        if info is None:
            return _errors(request.path, 404, f"task {task_id!r} not found")
        return _json(200, {"Info": info})

    def workers(self, _: Request, __: Parameters) -> Response:
        """``GET /workers``."""
        return _json(200, {"workers": list(self._store.workers())})

    def worker(self, request: Request, parameters: Parameters) -> Response:
        """``GET /workers/{id}``."""
        found = self._store.worker(parameters["id"])
        if found is None:
            return _errors(request.path, 404, f"worker {parameters['id']!r} not found")
        return _json(200, found)

    def health(self, _: Request, __: Parameters) -> Response:
        """``GET /health``."""
        self._store.ping()
        return _json(200, {"status": "ok"})

    def faults(self, _: Request, __: Parameters) -> Response:
        """``GET /_harness/faults``: those that are on."""
        return _json(200, {"faults": self._state.faults.left()})

    def add_fault(self, request: Request, _: Parameters) -> Response:
        """``POST /_harness/faults`` with ``path`` and the fields of :class:`~harness.server.faults.Fault`."""
        body = _object(request)
        path = body.pop("path", None)
        try:
            self._state.faults.add(path, from_json(body))
        except ValueError as exc:
            raise BadRequest([str(exc)]) from exc
        return _json(200, {"faults": self._state.faults.left()})

    def clear_faults(self, request: Request, _: Parameters) -> Response:
        """``DELETE /_harness/faults``, of all paths or of ``?path=``."""
        try:
            self._state.faults.clear(request.query.get("path"))
        except ValueError as exc:
            raise BadRequest([str(exc)]) from exc
        return _json(200, {"faults": self._state.faults.left()})

    def complaints(self, _: Request, __: Parameters) -> Response:
        """``GET /_harness/complaints``: what was sent that must not be, and what is wrong in Redis now."""
        sent = [asdict(complaint) for complaint in self._state.complaints]
        return _json(200, {"complaints": sent, "heartbeats": self._store.heartbeat_problems()})

    def requests(self, _: Request, __: Parameters) -> Response:
        """``GET /_harness/requests``: what was asked, without keys and bodies."""
        asked = [
            {name: value for name, value in asdict(request).items() if name != "body"}
            for request in self._state.requests
        ]
        return _json(200, {"requests": asked})

    def view(self, _: Request, __: Parameters) -> Response:
        """``GET /_harness/view``: workers, depths of queues, and the tasks that ended last."""
        queues = self._store.depths()
        workers = list(self._store.workers())
        return _json(200, {"workers": workers, "queues": queues, "ended": self._store.ended(queues)})


ROUTES = (
    Route("POST", "/worker/register", "worker", Api.register),
    Route("POST", "/queue/add", "client", Api.add),
    Route("POST", "/queue/add-batch", "client", Api.add_batch),
    Route("GET", "/queue/{id}", "client", Api.task),
    Route("GET", "/workers", "client", Api.workers),
    Route("GET", "/workers/{id}", "client", Api.worker),
    Route("GET", "/health", "", Api.health),
    Route("GET", "/_harness/faults", "admin", Api.faults),
    Route("POST", "/_harness/faults", "admin", Api.add_fault),
    Route("DELETE", "/_harness/faults", "admin", Api.clear_faults),
    Route("GET", "/_harness/complaints", "admin", Api.complaints),
    Route("GET", "/_harness/requests", "admin", Api.requests),
    Route("GET", "/_harness/view", "admin", Api.view),
)
#: The route of everything git asks for.
GIT = f"{PREFIX}{{repository}}"
#: Those that can be made faulty: all but the switches themselves.
FAULTY = (*(route.path for route in ROUTES if not route.path.startswith("/_harness/")), GIT)


def _spoiled(path: str, fault: Fault) -> Response:
    if fault.garbage:
        return Response(fault.status or 200, GARBAGE, headers=fault.headers)
    response = _errors(path, fault.status or 500, "a fault the harness was told to make")
    return replace(response, headers=fault.headers)


def _key(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _object(request: Request) -> dict[str, Any]:
    return bodies.json_object(request.headers.get("content-type", ""), request.body)


def _json(status: int, value: Any) -> Response:
    return Response(status, json.dumps(value).encode())


def _errors(path: str, status: int, *problems: str) -> Response:
    if path == "/worker/register":
        return _json(status, {"error": "; ".join(problems)})
    return _json(status, {"errors": list(problems)})
