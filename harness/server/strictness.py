"""What a worker or client should not send although the real server forgives it. Pure.

The answer is the real server's; the complaint is for the test that looks on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.server import bodies
from harness.server.messages import Refused, Request

_REGISTERING = ("queue", "hostname", "os", "version")
_BATCH = ("queue", "timeout", "jobs")
_NESTED = ("queue", "timeout", "data")


def complaints(request: Request) -> list[str]:
    """What is wrong with the body of ``request``, everything at once; nothing for other routes."""
    check = _CHECKS.get((request.method, request.path))
    if check is None:
        return []
    found = _content_type(request)
    try:
        return found + check(bodies.json_object(request.body))
    except Refused as exc:
        return [*found, str(exc)]


def _content_type(request: Request) -> list[str]:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() == "application/json":
        return []
    return [f"Content-Type is {content_type!r}, expected application/json"]


def _registering(content: Mapping[str, Any]) -> list[str]:
    problems = _strangers(content, _REGISTERING)
    for name in _REGISTERING:
        value = content.get(name)
        if not isinstance(value, str) or not value:
            problems.append(f"{name} is {bodies.kind(value)}, expected a text that is not empty")
    queue = content.get("queue")
    if isinstance(queue, str) and "." in queue:
        problems.append(f"queue is {queue!r}, expected a parent queue, without a dot")
    return problems


def _adding(content: Mapping[str, Any]) -> list[str]:
    problems = _queue(content) + _timeout(content)
    if "data" in content:
        problems += _strangers(content, _NESTED)
        if not isinstance(content["data"], dict):
            problems.append(f"data is {bodies.kind(content['data'])}, expected a JSON object")
    return problems


def _batch(content: Mapping[str, Any]) -> list[str]:
    problems = _strangers(content, _BATCH) + _queue(content) + _timeout(content)
    jobs = content.get("jobs")
    if not isinstance(jobs, list) or not jobs:
        return [*problems, f"jobs is {bodies.kind(jobs)}, expected at least one job"]
    return problems + [
        f"job {number} is {bodies.kind(job)}, expected a JSON object"
        for number, job in enumerate(jobs)
        if not isinstance(job, dict)
    ]


def _queue(content: Mapping[str, Any]) -> list[str]:
    queue = content.get("queue")
    if isinstance(queue, str) and queue:
        return []
    return [f"queue is {bodies.kind(queue)}, expected a text that is not empty"]


def _timeout(content: Mapping[str, Any]) -> list[str]:
    timeout = content.get("timeout", 0)
    if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout >= 0:
        return []
    return [f"timeout is {timeout!r}, expected whole seconds, 0 or more"]


def _strangers(content: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    return [f"unknown field {name!r}, known: {', '.join(known)}" for name in content if name not in known]


_CHECKS: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], list[str]]] = {
    ("POST", "/worker/register"): _registering,
    ("POST", "/queue/add"): _adding,
    ("POST", "/queue/add-batch"): _batch,
}
