"""The routes of clients: enqueueing, and the result."""

import json
import time
from collections.abc import Mapping
from typing import Any

from harness.queue import asynq
from harness.server import bodies, go_json, task_json
from harness.server.config import QueueConfig
from harness.server.inspector import Inspected, Unreadable
from harness.server.messages import Refused, Request, Response, json_response
from harness.server.services import Parameters, Services
from harness.server.writes import NewTasks

_TERMINAL = frozenset({"completed", "archived"})
#: Seconds between two looks of a long poll: the first, and the longest. The real server looks once a second.
_FIRST_LOOK_S, _SLOWEST_LOOK_S = 0.005, 0.1


def add(services: Services, request: Request, _: Parameters) -> Response:
    """``POST /queue/add``."""
    content = bodies.json_object(request.body)
    queue, parent = _queue(services, bodies.queue_of(content))
    timeout_s = bodies.timeout_of(content)
    data = bodies.data_of(request.body)
    new = NewTasks(queue, [go_json.rewritten(data)], timeout_s, parent.limits)
    info = task_json.added(services.writer.add(new), time.time())
    # Spliced in: what was sent comes back with the digits it had.
    return Response(200, b'{"info": %b, "data": %b}' % (json.dumps(info).encode(), data))


def enqueue(services: Services, queue: str, data: bytes, timeout_s: int) -> Mapping[str, Any]:
    """Write a task whose payload is the JSON ``data``, as ``add``; its message. Raises :class:`Refused`."""
    full, parent = _queue(services, queue)
    new = NewTasks(full, [go_json.rewritten(data)], timeout_s, parent.limits)
    return services.writer.add(new)


def add_batch(services: Services, request: Request, _: Parameters) -> Response:
    """``POST /queue/add-batch``."""
    batch = bodies.batch(request.body)
    queue, parent = _queue(services, batch.queue)
    timeout_s = batch.timeout_s or services.rules.batch_timeout_s
    task_ids, problems = services.writer.add_batch(NewTasks(queue, batch.jobs, timeout_s, parent.limits))
    answer = {"enqueued": len(task_ids), "failed": len(batch.jobs) - len(task_ids), "task_ids": task_ids}
    return json_response(200, answer | ({"errors": problems} if problems else {}))


def task(services: Services, request: Request, parameters: Parameters) -> Response:
    """``GET /queue/{id}``, at once or (``?wait=true``) when the task is over."""
    task_id = parameters["id"]
    queue = asynq.get_queue_of(services.db, task_id)
    if queue is None:
        raise Refused(404, "task not found")
    waits = request.query.get("wait") == "true"
    try:
        found = _when_over(services, queue, task_id) if waits else services.inspector.task(queue, task_id)
    except Unreadable as exc:
        raise Refused(408 if waits else 500, str(exc)) from exc
    return json_response(200, {"Info": task_json.got(found, time.time())})


def _when_over(services: Services, queue: str, task_id: str) -> Inspected:
    deadline = time.monotonic() + services.behaviour.long_poll_s
    pause_s = _FIRST_LOOK_S
    while True:
        found = services.inspector.task(queue, task_id)
        left_s = deadline - time.monotonic()
        if found.state in _TERMINAL:
            return found
        if left_s <= 0 or services.stopping.wait(min(pause_s, left_s)):
            raise Refused(408, "timeout waiting for task result")
        pause_s = min(pause_s * 1.5, _SLOWEST_LOOK_S)


def _queue(services: Services, name: str) -> tuple[str, QueueConfig]:
    """The sub-queue of a new task, and its parent queue."""
    full = name if "." in name else f"{name}.default"
    parent = services.state.parent_of(full)
    if parent is None:
        raise Refused(404, f"queue not found: {full}")
    return full, parent
