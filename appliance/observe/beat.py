"""What the heartbeat says of the worker (wire §6). Pure: a snapshot in, the hash's fields out."""

import json
from collections.abc import Mapping
from typing import Any

from appliance.observe.readiness import healthy
from appliance.snapshot import WorkerSnapshot


def fields(snapshot: WorkerSnapshot, metrics: Mapping[str, Any]) -> dict[str, str]:
    """The worker's hash; ``metrics`` are the machine's."""
    identity = snapshot.identity
    queues = {queue: priority for parent in snapshot.parents for queue, priority in parent.queues.items()}
    return {
        "worker_id": identity.worker_id,
        "instance_id": identity.instance_id or "",
        "protected": "0",
        "started_at": str(int(identity.started_at_wall_s)),
        "last_beat": str(int(snapshot.now_wall_s)),
        "concurrency": str(identity.concurrency),
        # Go's print of a map: the server takes it apart that way.
        "queues": "map[" + " ".join(f"{name}:{priority}" for name, priority in sorted(queues.items())) + "]",
        "status": snapshot.status.value,
        "quiet": str(int(snapshot.quiet)),
        "healthy": str(int(healthy(snapshot))),
        "metrics": json.dumps(metrics),
        "recovery": json.dumps(_recovery(snapshot)),
        "redeployed": json.dumps(
            {parent.name: dict(parent.redeployed) for parent in snapshot.parents if parent.redeployed}
        ),
        "commit": _commit(snapshot),
    }


def conspicuous(snapshot: WorkerSnapshot) -> object:
    """What readers should learn at once: a process that is down for a moment would be missed otherwise."""
    recovery = tuple(parent.recovery for parent in snapshot.parents if parent.commit is not None)
    return snapshot.status, snapshot.quiet, healthy(snapshot), recovery


def _recovery(snapshot: WorkerSnapshot) -> dict[str, dict[str, str | int]]:
    return {
        parent.name: {
            "state": parent.recovery,
            "consecutive_fails": parent.consecutive_fails,
            "total_restarts": parent.total_restarts,
        }
        for parent in snapshot.parents
        if parent.commit is not None
    }


def _commit(snapshot: WorkerSnapshot) -> str:
    """The commit, or one for each parent queue where there are several."""
    commits = {parent.name: parent.commit for parent in snapshot.parents if parent.commit is not None}
    if len(commits) == 1:
        return next(iter(commits.values()))
    return " ".join(f"{name}:{commit}" for name, commit in sorted(commits.items()))
