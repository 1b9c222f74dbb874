"""One task of this worker, from the take to its outcome, and how it is described to people."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from appliance.process.runner import Request
from appliance.queue.message import Task
from appliance.snapshot import TaskSnapshot

#: Most tasks that a list in a snapshot for people names.
MOST_DESCRIBED = 100


@dataclass(slots=True)
class Run:
    """``since_s`` (monotonic) is when the task was taken and, once it is started, when that was.

    ``over`` says that it has its outcome, ``at_least_s`` how long it is believed to take, because it proved
    longer than expected, ``looks`` how often it was asked whether others wait behind it.
    """

    task: Task
    request: Request
    since_s: float
    over: bool = False
    at_least_s: float = 0.0
    looks: int = 0


def report(runs: Iterable[Run], now_s: float) -> tuple[TaskSnapshot, ...]:
    """The first :data:`MOST_DESCRIBED` of ``runs``, for the status page."""
    return tuple(
        TaskSnapshot(
            run.request.task_id,
            run.request.queue,
            run.request.type,
            run.request.retry_count,
            now_s - run.since_s,
        )
        for run in islice(runs, MOST_DESCRIBED)
    )


def describe(runs: Iterable[Run], now_s: float) -> list[dict[str, Any]]:
    """The first :data:`MOST_DESCRIBED` of ``runs``, for the log."""
    return [
        {
            "task_id": run.request.task_id,
            "queue": run.request.queue,
            "attempt": run.task.lease.number,
            "age_s": round(now_s - run.since_s, 3),
        }
        for run in islice(runs, MOST_DESCRIBED)
    ]
