"""Whether a worker does its job, and if not why. Pure: a snapshot in, reasons out.

Ready is a worker that is registered, whose Redis answers, whose task processes are ready, and that neither
stops nor is quiet nor degraded. Live is one whose loops turn: a worker that waits for Redis or for a process
to come back is not ready, but alive, and a restart would not help. Started is one that was ready once: what
replaces workers one by one waits for that, and does not mind later that Redis is away. Healthy, the
heartbeat's word, is one for whose absence of work there is no cause that an operator should look into:
starting is none.
"""

from dataclasses import asdict
from typing import Any

from appliance.snapshot import ParentSnapshot, WorkerSnapshot
from appliance.values import value_class

#: Reasons not to be ready that are reasons not to be healthy.
_UNHEALTHY = frozenset(("redis_unavailable", "process_recovering", "process_degraded"))


@value_class
class Reason:
    """One reason not to be ready: a code for machines, the parent queue it is about, a text for people."""

    code: str
    parent: str | None
    text: str


def reasons(snapshot: WorkerSnapshot) -> list[Reason]:
    """Why the worker is not ready; empty when it is."""
    if snapshot.stopping:
        return [Reason("stopping", None, "the worker is stopping")]
    if not snapshot.parents:
        return [Reason("registering", None, "the worker is not registered with the server yet")]
    found = [reason for parent in snapshot.parents for reason in _of_parent(parent)]
    if snapshot.quiet:
        found.append(Reason("quiet", None, "the worker was told to take nothing new (SIGTSTP)"))
    return found


def healthy(snapshot: WorkerSnapshot) -> bool:
    """Whether every process works, or will as soon as it has started, and Redis answers; also at the end."""
    codes = {reason.code for parent in snapshot.parents for reason in _of_parent(parent)}
    return not codes & _UNHEALTHY


def readiness(snapshot: WorkerSnapshot) -> dict[str, Any]:
    """The answer of ``/readyz``: ``{"ready", "status", "reasons": [{"code", "parent", "text"}]}``."""
    found = reasons(snapshot)
    return {
        "ready": not found,
        "status": snapshot.status.value,
        "reasons": [asdict(reason) for reason in found],
    }


def liveness(snapshot: WorkerSnapshot) -> dict[str, Any]:
    """The answer of ``/livez``: ``{"live", "stuck": [text]}``. A worker that stops has loops that ended."""
    stuck = [] if snapshot.stopping else list(snapshot.stuck)
    return {"live": not stuck, "stuck": stuck}


def startedness(snapshot: WorkerSnapshot) -> dict[str, Any]:
    """The answer of ``/startedz``: ``{"started", "reasons", "stuck"}``; after its start a worker is as much
    started as it is live."""
    live, ready = liveness(snapshot), readiness(snapshot)
    reasons_left = [] if snapshot.started else ready["reasons"]
    return {"started": snapshot.started and live["live"], "reasons": reasons_left, "stuck": live["stuck"]}


def _of_parent(parent: ParentSnapshot) -> list[Reason]:
    found = []
    if not parent.redis.available:
        problem = parent.redis.problem or f"it is at {parent.redis.address}"
        found.append(("redis_unavailable", f"Redis does not answer ({problem})"))
    if parent.commit is None:
        found.append(("deploying", "its code is being put in place"))
    elif parent.recovery == "degraded":
        found.append(("process_degraded", "degraded: its task process crashed too often to be started again"))
    elif parent.recovery == "recovering":
        found.append(("process_recovering", "its task process failed and is being started again"))
    elif not parent.ready:
        found.append(("process_not_ready", "its task process is not ready"))
    return [Reason(code, parent.name, f"{parent.name}: {text}") for code, text in found]
