"""What may be in a request's body: read strictly, every problem named at once. Pure.

The real server forgives what it does not know. This one does not, so that a worker or client that
sends something wrong is caught here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The SDK's own, for clients that name none.
DEFAULT_TIMEOUT_S = 300


class BadRequest(Exception):
    """The body is not what it has to be."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class Registering:
    """The body of ``POST /worker/register``."""

    queue: str
    hostname: str
    os: str
    version: str


@dataclass(frozen=True)
class Job:
    """One task of ``POST /queue/add`` or of a batch; ``type`` None is the queue's name."""

    payload: Any
    timeout_s: int
    type: str | None = None


def json_object(content_type: str, body: bytes) -> dict[str, Any]:
    """The JSON object that ``body`` is. Raises :class:`BadRequest`."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequest([f"Content-Type is {content_type!r}, expected application/json"])
    try:
        value = json.loads(body)
    except ValueError as exc:  # also what is no UTF-8
        raise BadRequest([f"the body is no JSON: {exc}"]) from exc
    if not isinstance(value, dict):
        raise BadRequest([f"the body is {_kind(value)}, expected a JSON object"])
    return value


def registering(body: Mapping[str, Any]) -> Registering:
    """Read the body of a registration. Raises :class:`BadRequest`."""
    names = ("queue", "hostname", "os", "version")
    problems = _strangers(body, names)
    for name in names:
        value = body.get(name)
        if not isinstance(value, str) or not value:
            problems.append(f"{name} is {_kind(value)}, expected a text that is not empty")
    queue = body.get("queue")
    if isinstance(queue, str) and "." in queue:
        problems.append(f"queue is {queue!r}, expected a parent queue, without a dot")
    if problems:
        raise BadRequest(problems)
    return Registering(*(body[name] for name in names))


def adding(body: Mapping[str, Any]) -> tuple[str, Job]:
    """Read the body of ``/queue/add``: the queue and its task. Raises :class:`BadRequest`."""
    problems: list[str] = []
    queue = _queue(body, problems)
    job = _job({name: value for name, value in body.items() if name != "queue"}, DEFAULT_TIMEOUT_S, problems)
    if problems:
        raise BadRequest(problems)
    return queue, job


def batch(body: Mapping[str, Any]) -> tuple[str, list[Job | str]]:
    """Read the body of ``/queue/add-batch``: the queue, and per job itself or what is wrong with it.

    Raises :class:`BadRequest` where the batch as a whole makes no sense.
    """
    problems = _strangers(body, ("queue", "timeout", "jobs"))
    queue = _queue(body, problems)
    timeout_s = _timeout(body, DEFAULT_TIMEOUT_S, problems)
    jobs = body.get("jobs")
    if not isinstance(jobs, list) or not jobs:
        problems.append(f"jobs is {_kind(jobs)}, expected a list of one job or more")
    if problems:
        raise BadRequest(problems)
    return queue, [_job_or_problem(number, entry, timeout_s) for number, entry in enumerate(jobs or ())]


def _job_or_problem(number: int, entry: Any, timeout_s: int) -> Job | str:
    if not isinstance(entry, dict):
        return f"job {number} is {_kind(entry)}, expected a JSON object"
    problems: list[str] = []
    job = _job(entry, timeout_s, problems)
    return f"job {number}: {'; '.join(problems)}" if problems else job


def _job(body: Mapping[str, Any], timeout_s: int, problems: list[str]) -> Job:
    """Nested (``data`` is the payload) or flat (whatever is beside ``timeout`` is)."""
    timeout_s = _timeout(body, timeout_s, problems)
    if "data" not in body:
        return Job({name: value for name, value in body.items() if name != "timeout"}, timeout_s)
    problems += _strangers(body, ("data", "timeout", "type"))
    type_ = body.get("type")
    if type_ is not None and (not isinstance(type_, str) or not type_):
        problems.append(f"type is {_kind(type_)}, expected a text that is not empty")
    if not isinstance(body["data"], dict):
        problems.append(f"data is {_kind(body['data'])}, expected a JSON object")
    return Job(body["data"], timeout_s, type_)


def _queue(body: Mapping[str, Any], problems: list[str]) -> str:
    queue = body.get("queue")
    if isinstance(queue, str) and queue:
        return queue
    problems.append(f"queue is {_kind(queue)}, expected a text that is not empty")
    return ""


def _timeout(body: Mapping[str, Any], default_s: int, problems: list[str]) -> int:
    timeout = body.get("timeout", default_s)
    if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout >= 0:
        return timeout
    problems.append(f"timeout is {timeout!r}, expected whole seconds, 0 or more")
    return default_s


def _strangers(body: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    return [f"unknown field {name!r}, known: {', '.join(known)}" for name in body if name not in known]


def _kind(value: Any) -> str:
    if value is None:
        return "missing or null"
    kinds = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return "empty" if value in ("", []) else kinds.get(type(value), "an object")
