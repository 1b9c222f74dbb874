"""The routes of operators: workers, and tasks by state."""

import time
from datetime import UTC, datetime

import redis

from harness.queue import asynq
from harness.server import task_json, workers
from harness.server.inspector import STATES, Unreadable
from harness.server.messages import Refused, Request, Response, json_response
from harness.server.services import Parameters, Services

#: Tasks in a list whose request names no limit.
LIMIT = 10


def list_workers(services: Services, _: Request, __: Parameters) -> Response:
    """``GET /workers``."""
    now_wall_s, instances = time.time(), services.rules.instances
    found = [
        workers.shown(worker_id, beat, now_wall_s, instances=instances)
        for worker_id, beat in workers.beats(services.db)
    ]
    return json_response(200, {"workers": found, "count": len(found)})


def one_worker(services: Services, _: Request, parameters: Parameters) -> Response:
    """``GET /workers/{id}``."""
    beat = asynq.get_worker(services.db, parameters["id"])
    if not beat:
        raise Refused(404, "Worker not found")
    shown = workers.shown(parameters["id"], beat, time.time(), instances=services.rules.instances)
    return json_response(200, shown)


def list_tasks(services: Services, request: Request, parameters: Parameters) -> Response:
    """``GET /api/queues/{queue}/tasks``: the first ``?limit=`` tasks in ``?state=``."""
    state = request.query.get("state", "pending")
    if state not in STATES or state == "aggregating":
        raise Refused(400, f"invalid state: {state}")
    limit = request.query.get("limit", "")
    try:
        found = services.inspector.tasks(
            parameters["queue"], state, int(limit) if limit.isdecimal() else LIMIT
        )
    except Unreadable as exc:
        raise Refused(500, str(exc)) from exc
    return json_response(200, {"tasks": [task_json.listed(task) for task in found] or None})


def health(_: Services, __: Request, ___: Parameters) -> Response:
    """``GET /health``: the server answers. Redis is not asked."""
    return json_response(200, {"status": "ok", "timestamp": _now()})


def health_of_all(services: Services, _: Request, __: Parameters) -> Response:
    """``GET /healthz``: whether Redis answers, too."""
    try:
        answers = bool(services.db.ping())
    except redis.RedisError:
        answers = False
    status, word = (200, "ok") if answers else (503, "degraded")
    return json_response(status, {"status": word, "redis": answers, "timestamp": _now()})


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
