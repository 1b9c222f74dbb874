"""What stands in a request's body, read as forgivingly as the real server reads it. Pure.

What it forgives and a worker or client should still not send is the business of
:mod:`harness.server.strictness`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.server import go_json
from harness.server.messages import Refused

_QUEUE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Batch:
    """The body of ``POST /queue/add-batch``; each job is its payload, byte for byte as it was sent."""

    queue: str
    timeout_s: int
    jobs: Sequence[bytes]


def json_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object that ``body`` is; ``null`` counts as an empty one. Raises :class:`Refused`."""
    try:
        value = go_json.parse(body)
    except (ValueError, RecursionError) as exc:
        raise Refused(400, f"invalid JSON: {exc}") from exc
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(400, f"the body is {kind(value)}, expected a JSON object")
    return value


def registering(body: bytes) -> str:
    """The queue a worker registers for. Raises :class:`Refused`."""
    try:
        content = json_object(body)
    except Refused as exc:
        raise Refused(400, f"invalid request: {exc}") from exc
    for name in ("queue", "hostname", "os", "version"):
        if not isinstance(content.get(name), str | None):
            raise Refused(400, f"invalid request: {name} is {kind(content[name])}, expected a text")
    queue = content.get("queue") or ""
    if not queue:
        raise Refused(400, "queue name is required")
    if not _QUEUE_NAME.fullmatch(queue):
        raise Refused(
            400, "invalid queue name: must be 1-128 chars, alphanumeric with dots, hyphens, underscores"
        )
    return str(queue)


def queue_of(content: Mapping[str, Any]) -> str:
    """The queue of a single task. Raises :class:`Refused`."""
    queue = content.get("queue")
    if not isinstance(queue, str | None):
        raise Refused(400, f"invalid queue field: it is {kind(queue)}, expected a text")
    if not queue:
        raise Refused(400, "queue is required")
    return queue


def timeout_of(content: Mapping[str, Any]) -> int:
    """The time limit in seconds, 0 for none. Raises :class:`Refused`."""
    timeout = content.get("timeout")
    if timeout is None:
        return 0
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout not in _INT64:
        raise Refused(400, f"invalid timeout field: it is {timeout!r}, expected whole seconds")
    return timeout


def data_of(body: bytes) -> bytes:
    """What a single task is about: ``data``, or without one all members but ``queue`` and ``timeout``."""
    members = go_json.members(body)
    if "data" in members:
        return members["data"]
    flat = {name: raw for name, raw in members.items() if name not in {"queue", "timeout"}}
    written = (go_json.text(name) + b":" + raw for name, raw in sorted(flat.items()))
    return b"{" + b",".join(written) + b"}"


def batch(body: bytes) -> Batch:
    """Read a batch. Raises :class:`Refused`."""
    content = json_object(body)
    queue = queue_of(content)
    timeout_s = timeout_of(content)
    if not isinstance(content.get("jobs"), list):
        raise Refused(400, f"jobs is {kind(content.get('jobs'))}, expected a list")
    jobs = go_json.elements(go_json.members(body)["jobs"])
    if not jobs:
        raise Refused(400, "jobs array cannot be empty")
    return Batch(queue, timeout_s, jobs)


def kind(value: Any) -> str:
    """What kind of JSON value it is, in words."""
    if value is None:
        return "missing or null"
    kinds = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return "empty" if value in ("", []) else kinds.get(type(value), "an object")
