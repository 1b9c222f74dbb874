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
from appliance.observe.timeline import Moment
from appliance.queue.depths import Depths
from appliance.snapshot import ParentSnapshot, TaskSnapshot, WorkerSnapshot

Redact = Callable[[str], str]


def status(
    snapshot: WorkerSnapshot, moments: Sequence[Moment], lines: Sequence[Line], redact: Redact
) -> dict[str, Any]:
    """The answer of ``/status``; times are ISO 8601 in UTC, durations seconds."""
    ready, live = readiness(snapshot), liveness(snapshot)
    return {
        "worker": {
            "id": snapshot.identity.worker_id,
            "instance_id": snapshot.identity.instance_id,
            "version": snapshot.identity.version,
            "python": snapshot.identity.python,
            "status": snapshot.status.value,
            "quiet": snapshot.quiet,
            "stopping": snapshot.stopping,
            "started_at": _time(snapshot.identity.started_at_wall_s),
            "uptime_s": round(snapshot.uptime_s, 1),
        },
        "now": _time(snapshot.now_wall_s),
        "ready": ready["ready"],
        "reasons": ready["reasons"],
        "live": live["live"],
        "stuck": live["stuck"],
        "startup": dict(snapshot.startup),
        "outbox_bytes": snapshot.outbox_bytes,
        "isolation": {
            "level": snapshot.isolation.level.value,
            "in_force": [each.value for each in snapshot.isolation.in_force],
            "lacking": {each.value: reason for each, reason in snapshot.isolation.lacking.items()},
        },
        "parents": [_parent(parent, redact) for parent in snapshot.parents],
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


def state_of(parent: ParentSnapshot) -> str:
    """A parent in one word: deploying, degraded, recovering, ready or starting."""
    if parent.commit is None:
        return "deploying"
    if parent.recovery != "idle":
        return parent.recovery
    return "ready" if parent.ready else "starting"


def _parent(parent: ParentSnapshot, redact: Redact) -> dict[str, Any]:
    return {
        "parent": parent.name,
        "state": state_of(parent),
        "mode": parent.mode,
        "commit": parent.commit,
        "notes": [redact(note) for note in parent.notes],
        "repository_answers": parent.repository_answers,
        "recovery": {
            "state": parent.recovery,
            "consecutive_fails": parent.consecutive_fails,
            "total_restarts": parent.total_restarts,
        },
        "redis": asdict(parent.redis),
        "pids": list(parent.pids),
        "slots": {"total": parent.slots, "in_use": parent.in_use},
        "fetched_ahead": parent.fetched_ahead,
        "unsettled": {"outcomes": parent.unsettled, "oldest_s": round(parent.unsettled_oldest_s, 3)},
        "leases_lost": parent.leases_lost,
        "tasks": [_task(task, redact) for task in parent.tasks],
        "queues": [
            {
                "name": name,
                "priority": priority,
                "depth": _depth(parent.depths.get(name)),
                "outcomes": dict(parent.tallies[name].outcomes) if name in parent.tallies else {},
            }
            for name, priority in parent.queues.items()
        ],
    }


def _depth(depths: Depths | None) -> dict[str, Any] | None:
    if depths is None:
        return None
    oldest_s = depths.oldest_pending_s
    return {**asdict(depths), "oldest_pending_s": None if oldest_s is None else round(oldest_s, 1)}


def _task(task: TaskSnapshot, redact: Redact) -> dict[str, Any]:
    return {
        "id": redact(task.task_id),
        "queue": task.queue,
        "type": redact(task.type),
        "retried": task.retried,
        "age_s": round(task.age_s, 3),
    }


def _time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
