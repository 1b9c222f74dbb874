"""Whether a worker does its job, and if not why. Pure: a report in, reasons out.

Ready is a worker that is registered, whose Redis answers, whose task processes are ready, and that neither
stops nor is quiet nor degraded. Live is one whose loops turn: a worker that waits for Redis or for a process
to come back is not ready, but alive, and restarting it would help nobody.
"""

from dataclasses import asdict, dataclass
from typing import Any

from appliance.observe.report import LaneReport, WorkerReport


@dataclass(frozen=True)
class Reason:
    """One reason not to be ready: a code for machines, the parent queue it is about, a text for people."""

    code: str
    parent: str | None
    text: str


def reasons(report: WorkerReport) -> list[Reason]:
    """Why the worker is not ready; empty when it is."""
    if report.stopping:
        return [Reason("stopping", None, "the worker is stopping")]
    if not report.lanes:
        return [Reason("registering", None, "the worker is not registered with the server yet")]
    found = [reason for lane in report.lanes for reason in _of_lane(lane)]
    if report.status == "quiet":
        found.append(Reason("quiet", None, "the worker was told to take nothing new (SIGTSTP)"))
    return found


def readiness(report: WorkerReport) -> dict[str, Any]:
    """The answer of ``/readyz``: ``{"ready", "status", "reasons": [{"code", "parent", "text"}]}``."""
    found = reasons(report)
    return {"ready": not found, "status": report.status, "reasons": [asdict(reason) for reason in found]}


def liveness(report: WorkerReport) -> dict[str, Any]:
    """The answer of ``/livez``: ``{"live", "stuck": [text]}``. A worker that stops has loops that ended."""
    stuck = [] if report.stopping else list(report.stuck)
    return {"live": not stuck, "stuck": stuck}


def _of_lane(lane: LaneReport) -> list[Reason]:
    found = []
    if not lane.redis.reachable:
        found.append(("redis_unreachable", "Redis does not answer"))
    if lane.commit is None:
        found.append(("deploying", "its code is being put in place"))
    elif lane.recovery == "degraded":
        found.append(("process_degraded", "degraded: its task process crashed too often to be started again"))
    elif lane.recovery == "recovering":
        found.append(("process_recovering", "its task process failed and is being started again"))
    elif not lane.ready:
        found.append(("process_not_ready", "its task process is not ready"))
    return [Reason(code, lane.parent, f"{lane.parent}: {text}") for code, text in found]
