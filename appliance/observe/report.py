"""A worker at one moment, as data: readiness, metrics and the status page are all made from this."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.observe.tally import Tally
from appliance.queue.depths import Depths


@dataclass(frozen=True)
class TaskReport:
    """A task in the process; ``age_s`` since it was handed over."""

    task_id: str
    queue: str
    type: str
    retried: int
    age_s: float


@dataclass(frozen=True)
class RedisReport:
    """Connections to a lane's Redis: is it ``reachable``, how many were made, and how often one failed."""

    address: str
    reachable: bool = True
    connects: int = 0
    errors: int = 0


@dataclass(frozen=True)
class LaneReport:
    """One parent queue. ``recovery`` is idle, recovering or degraded.

    ``commit`` is None until code is in place, ``ready`` False while the task process takes no tasks.
    ``queues`` maps sub-queue to priority; ``depths`` has those that Redis was asked for lately, ``tallies``
    what was counted since the start. ``unsettled`` are outcomes that Redis has not accepted yet.
    """

    parent: str
    commit: str | None
    ready: bool
    recovery: str
    redis: RedisReport
    mode: str = "long_running"
    consecutive_fails: int = 0
    total_restarts: int = 0
    pids: tuple[int, ...] = ()
    slots: int = 0
    in_use: int = 0
    fetched_ahead: int = 0
    unsettled: int = 0
    unsettled_oldest_s: float = 0.0
    leases_lost: int = 0
    tasks: tuple[TaskReport, ...] = ()
    queues: Mapping[str, int] = field(default_factory=dict)
    depths: Mapping[str, Depths] = field(default_factory=dict)
    tallies: Mapping[str, Tally] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerReport:
    """The worker. ``status`` is bootstrapping, running, quiet or stopped, as in the heartbeat.

    ``stopping`` is true from the signal on. ``lanes`` is empty until every parent queue is registered.
    ``stuck`` says which loops do not turn. ``startup`` has the seconds each phase of the start took, as far
    as it has come. ``outbox_bytes`` is what the state folder keeps of unsettled outcomes.
    """

    status: str
    stopping: bool
    lanes: tuple[LaneReport, ...]
    stuck: tuple[str, ...] = ()
    worker_id: str = ""
    version: str = ""
    python: str = ""
    instance_id: str | None = None
    started_at_wall_s: float = 0.0
    now_wall_s: float = 0.0
    startup: Mapping[str, float] = field(default_factory=dict)
    outbox_bytes: int = 0
