"""The worker for people and their programs: one JSON shape, described in ``docs/operations.md``. Pure.

Text that comes from elsewhere (task ids and types, a process's last words) passes ``redact``; log lines have
passed it already.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from appliance.observe.readiness import liveness, readiness
from appliance.observe.recent import Line
from appliance.observe.report import LaneReport, TaskReport, WorkerReport
from appliance.observe.timeline import Moment

Redact = Callable[[str], str]


def status(
    report: WorkerReport, moments: Sequence[Moment], lines: Sequence[Line], redact: Redact
) -> dict[str, Any]:
    """The answer of ``/status``; times are ISO 8601 in UTC, durations seconds."""
    ready, live = readiness(report), liveness(report)
    return {
        "worker": {
            "id": report.worker_id,
            "instance_id": report.instance_id,
            "version": report.version,
            "python": report.python,
            "status": report.status,
            "stopping": report.stopping,
            "started_at": _time(report.started_at_wall_s),
            "uptime_s": round(report.now_wall_s - report.started_at_wall_s, 1),
        },
        "now": _time(report.now_wall_s),
        "ready": ready["ready"],
        "reasons": ready["reasons"],
        "live": live["live"],
        "stuck": live["stuck"],
        "startup": dict(report.startup),
        "outbox_bytes": report.outbox_bytes,
        "lanes": [_lane(lane, redact) for lane in report.lanes],
        "timeline": [
            {
                "at": _time(moment.at_wall_s),
                "parent": moment.parent,
                "what": moment.what,
                "text": redact(moment.text),
            }
            for moment in moments
        ],
        "log": [asdict(line) for line in lines],
    }


def state_of(lane: LaneReport) -> str:
    """A lane in one word: deploying, degraded, recovering, ready or starting."""
    if lane.commit is None:
        return "deploying"
    if lane.recovery != "idle":
        return lane.recovery
    return "ready" if lane.ready else "starting"


def _lane(lane: LaneReport, redact: Redact) -> dict[str, Any]:
    return {
        "parent": lane.parent,
        "state": state_of(lane),
        "mode": lane.mode,
        "commit": lane.commit,
        "recovery": {
            "state": lane.recovery,
            "consecutive_fails": lane.consecutive_fails,
            "total_restarts": lane.total_restarts,
        },
        "redis": asdict(lane.redis),
        "pids": list(lane.pids),
        "slots": {"total": lane.slots, "in_use": lane.in_use},
        "fetched_ahead": lane.fetched_ahead,
        "unsettled": {"outcomes": lane.unsettled, "oldest_s": round(lane.unsettled_oldest_s, 3)},
        "leases_lost": lane.leases_lost,
        "tasks": [_task(task, redact) for task in lane.tasks],
        "queues": [
            {
                "name": name,
                "priority": priority,
                "depth": asdict(lane.depths[name]) if name in lane.depths else None,
                "outcomes": dict(lane.tallies[name].outcomes) if name in lane.tallies else {},
            }
            for name, priority in lane.queues.items()
        ],
    }


def _task(task: TaskReport, redact: Redact) -> dict[str, Any]:
    return {
        "id": redact(task.task_id),
        "queue": task.queue,
        "type": redact(task.type),
        "retried": task.retried,
        "age_s": round(task.age_s, 3),
    }


def _time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
