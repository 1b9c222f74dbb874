"""What SIGUSR1 logs as ``worker.state``. Pure: a snapshot in, the event's fields out."""

from typing import Any

from appliance.observe.readiness import healthy
from appliance.snapshot import ParentSnapshot, WorkerSnapshot


def state(snapshot: WorkerSnapshot) -> dict[str, Any]:
    """The event's fields."""
    return {
        "worker_id": snapshot.identity.worker_id,
        "status": snapshot.status.value,
        "quiet": snapshot.quiet,
        "healthy": healthy(snapshot),
        "stopping": snapshot.stopping,
        "uptime_s": round(snapshot.uptime_s, 1),
        "stuck": list(snapshot.stuck),
        "parents": [_parent(parent) for parent in snapshot.parents],
    }


def _parent(parent: ParentSnapshot) -> dict[str, Any]:
    return {
        "parent": parent.name,
        "queues": dict(parent.queues),
        "commit": parent.commit,
        "redeployed": dict(parent.redeployed),
        "process": {
            "recovery": parent.recovery,
            "ready": parent.ready,
            "consecutive_fails": parent.consecutive_fails,
            "total_restarts": parent.total_restarts,
            "pids": list(parent.pids),
        },
        "tasks": dict(parent.dispatch),
        "loops": dict(parent.loops),
    }
