"""The worker at one moment, as data. Pure.

One snapshot is taken of everything, and all who describe the worker are functions of it: the heartbeat,
SIGUSR1, ``/status``, ``/metrics`` and the probes. What one of them says, none of the others can deny.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from appliance.isolation.report import Level, Report
from appliance.observe.tally import Tally
from appliance.queue.depths import Depths
from appliance.values import value_class


class Status(StrEnum):
    """The worker's state, in the server's words: it takes any other for stopped."""

    BOOTSTRAPPING = "bootstrapping"
    RUNNING = "running"
    STOPPED = "stopped"


@value_class
class Identity:
    """What stays the same for the life of the worker."""

    worker_id: str
    version: str
    python: str
    started_at_wall_s: float
    concurrency: int
    instance_id: str | None = None


@value_class
class TaskSnapshot:
    """A task in the process; ``age_s`` since it was handed over."""

    task_id: str
    queue: str
    type: str
    retried: int
    age_s: float


@value_class
class RedisSnapshot:
    """Connections to a parent queue's Redis: whether it answers, how many were made, how many failures.

    ``problem`` is what was wrong with the last try, where something was.
    """

    address: str
    available: bool = True
    connects: int = 0
    errors: int = 0
    problem: str = ""


@value_class
class ParentSnapshot:
    """One parent queue, called ``name``. ``recovery`` is idle, recovering or degraded.

    ``commit`` is None until code is in place, ``ready`` False while the task process takes no tasks.
    ``notes`` say what was odd about the deployment, ``repository_answers`` is False where the repository
    could not be asked and the code is that of an earlier start; ``redeployed`` is the last redeployment,
    empty before the first.
    ``queues`` maps queue to priority; ``depths`` has those that Redis was asked for lately, ``tallies``
    what was counted since the start. ``unsettled`` are outcomes that Redis has not accepted yet.
    ``dispatch`` and ``loops`` are details for SIGUSR1: what is held, and which loops there are.
    """

    name: str
    commit: str | None
    ready: bool
    recovery: str
    redis: RedisSnapshot
    notes: tuple[str, ...] = ()
    repository_answers: bool = True
    redeployed: Mapping[str, str | int] = field(default_factory=dict)
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
    tasks: tuple[TaskSnapshot, ...] = ()
    queues: Mapping[str, int] = field(default_factory=dict)
    depths: Mapping[str, Depths] = field(default_factory=dict)
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    dispatch: Mapping[str, Any] = field(default_factory=dict)
    loops: Mapping[str, str] = field(default_factory=dict)


@value_class
class WorkerSnapshot:
    """The worker.

    ``quiet`` is true while it was told to take nothing new, ``stopping`` from the signal to end on.
    ``parents`` is empty until every parent queue is registered. ``stuck`` says which loops do not turn.
    ``startup`` has the seconds each phase of the start took, as far as it has come; ``started`` is true from
    the first moment at which every task process was ready. ``outbox_bytes`` is what the state folder keeps of
    unsettled outcomes. ``isolation`` is what task code is kept from.
    """

    identity: Identity
    status: Status
    parents: tuple[ParentSnapshot, ...]
    now_wall_s: float
    quiet: bool = False
    stopping: bool = False
    stuck: tuple[str, ...] = ()
    startup: Mapping[str, float] = field(default_factory=dict)
    started: bool = False
    outbox_bytes: int = 0
    isolation: Report = field(default_factory=lambda: Report(Level.OFF))
    log_lines_lost: int = 0

    @property
    def uptime_s(self) -> float:
        """How long it has been up."""
        return self.now_wall_s - self.identity.started_at_wall_s
