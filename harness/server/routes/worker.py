"""The route of workers: registration."""

from harness.server import bodies
from harness.server.config import registration
from harness.server.messages import Refused, Request, Response, json_response
from harness.server.services import Parameters, Services


def register(services: Services, request: Request, _: Parameters) -> Response:
    """``POST /worker/register``: all that a worker needs for a parent queue, or for one sub-queue."""
    name = bodies.registering(request.body)
    services.behaviour.before_register(name)
    queue = services.state.parent_of(name)
    if queue is None:
        tried = "" if "." in name else f" (also tried '{name}.default')"
        raise Refused(404, f"queue '{name}' not found{tried}")
    git_url = queue.git_url
    if git_url.startswith("/git/"):
        # Served here: under whatever name the worker reached us, it reaches the repository too.
        git_url = f"http://{request.headers.get('host', '')}{git_url}"
    answer = registration(queue, name, services.redis_url, git_url)
    return json_response(200, services.behaviour.alter_registration(answer))
