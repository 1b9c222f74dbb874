"""What can be known of one task, and of the workers that could run it. Pure.

Times are unix seconds by Redis's clock; None is "there is none".
"""

from collections.abc import Mapping
from dataclasses import field

from appliance.values import value_class


@value_class
class WorkerFacts:
    """One worker that left a trace: what its heartbeat said last.

    ``alive`` is whether it has said anything in the last 30 s and not goodbye; ``recovery`` is idle,
    recovering or degraded, of the process that serves the task's queue. ``broken`` says what of it cannot
    be read.
    """

    worker_id: str
    alive: bool
    status: str = ""
    healthy: bool = False
    recovery: str = ""
    queues: frozenset[str] = frozenset()
    beat_age_s: float | None = None
    concurrency: int | None = None
    quiet: bool = False
    broken: str = ""


@value_class
class TaskFacts:
    """One task in one queue.

    ``state`` is what its hash says, ``places`` the lists and sets it is in; the two agree in a healthy
    queue. ``ahead`` is how many are served before it, None where it does not wait or is farther back than
    was looked. ``crashes`` counts runs that ended in a crash of the task process. ``first`` maps sub-queues
    that are served before this one to their waiting tasks.
    """

    task_id: str
    queue: str
    now_wall_s: float
    state: str
    places: tuple[str, ...]
    type: str = ""
    ahead: int | None = None
    pending: int = 0
    pending_since_wall_s: float | None = None
    paused: bool = False
    lease_until_wall_s: float | None = None
    due_wall_s: float | None = None
    purge_wall_s: float | None = None
    completed_wall_s: float | None = None
    failed_wall_s: float | None = None
    owner: str = ""
    attempt: str = ""
    retried: int = 0
    crashes: int = 0
    max_retry: int = 0
    error: str = ""
    run_limit_s: float | None = None
    deadline_wall_s: float | None = None
    pending_timeout_s: float | None = None
    payload_bytes: int = 0
    result_bytes: int | None = None
    unique_key: str = ""
    unique_holder: str = ""
    unique_for_s: float | None = None
    broken: str = ""
    first: Mapping[str, int] = field(default_factory=dict)
    workers: tuple[WorkerFacts, ...] = ()

    @property
    def place(self) -> str:
        """Where it is: the place that the hash names if it is there, else the one it is in, else nowhere."""
        return self.state if self.state in self.places else next(iter(self.places), "")

    @property
    def serving(self) -> tuple[WorkerFacts, ...]:
        """The living workers that serve its queue."""
        return tuple(one for one in self.workers if one.alive and self.queue in one.queues)

    @property
    def holder(self) -> WorkerFacts | None:
        """The worker that has it, where that has left a trace."""
        return next((one for one in self.workers if one.worker_id == self.owner), None)
