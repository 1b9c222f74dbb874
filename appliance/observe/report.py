"""A worker at one moment, as data: readiness, metrics and the status page are all made from this."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LaneReport:
    """One parent queue. ``recovery`` is idle, recovering or degraded.

    ``commit`` is None until code is in place, ``ready`` False while the task process takes no tasks.
    """

    parent: str
    commit: str | None
    ready: bool
    recovery: str
    redis_reachable: bool


@dataclass(frozen=True)
class WorkerReport:
    """The worker. ``status`` is bootstrapping, running, quiet or stopped, as in the heartbeat.

    ``stopping`` is true from the signal on. ``lanes`` is empty until every parent queue is registered.
    ``stuck`` says which loops do not turn.
    """

    status: str
    stopping: bool
    lanes: tuple[LaneReport, ...]
    stuck: tuple[str, ...] = ()
