"""What people are shown of a queue, a task, a worker and a line of output, and the same as JSON. Pure.

Times are unix seconds, except where a name says otherwise; None is "there is none".
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: How a task's hash and its message name the states; a task is in exactly one of them.
STATES = ("pending", "active", "scheduled", "retry", "completed", "archived")
#: States in which a task has ended.
ENDED = frozenset({"completed", "archived"})
#: The last moment, in unix seconds; what is larger is no moment, but another number.
_LATEST_S = 10**11


@dataclass(frozen=True)
class QueueView:
    """A sub-queue: how many tasks are where (``depths``, by state), and how many ended so far.

    ``waiting_s`` is how long the task that is served next has waited.
    """

    name: str
    depths: Mapping[str, int]
    processed: int = 0
    failed: int = 0
    paused: bool = False
    paused_at_s: float | None = None
    waiting_s: float | None = None

    @property
    def parent(self) -> str:
        """The parent queue it belongs to."""
        return self.name.partition(".")[0]

    def as_json(self) -> dict[str, Any]:
        """As ``queues list --json`` and the page have it."""
        return {
            "queue": self.name,
            "parent": self.parent,
            "paused": self.paused,
            "paused_at_s": self.paused_at_s,
            "waiting_s": self.waiting_s,
            **{state: self.depths.get(state, 0) for state in STATES},
            "processed": self.processed,
            "failed": self.failed,
        }


@dataclass(frozen=True)
class Progress:
    """What task code said last of how far it is: any JSON, when, and in which attempt."""

    value: Any
    at_s: float
    attempt: int

    def as_json(self) -> dict[str, Any]:
        """As ``tasks show --json`` and the page have it."""
        return {"value": self.value, "at_s": self.at_s, "attempt": self.attempt}


@dataclass(frozen=True)
class Attempt:
    """A run of a task that failed: when it ended and why, and which worker ran it, where that is known."""

    number: int | None
    at_s: float | None
    error: str
    worker_id: str = ""

    def as_json(self) -> dict[str, Any]:
        """As ``tasks show --json`` and the page have it."""
        return {
            "attempt": self.number,
            "at_s": self.at_s,
            "error": self.error,
            "worker_id": self.worker_id,
        }


@dataclass(frozen=True)
class TaskView:
    """A task.

    ``payload`` and ``result`` are bytes as they stand; a list of tasks leaves ``result`` out.
    ``attempt`` is how often it was taken (0: never, or by a worker that does not count), ``worker_id``
    the worker that took it last. ``failures`` are runs that failed, the newest last. ``broken`` says why
    its message cannot be read; then it has no type and payload. ``left_out`` has the sizes, in bytes, of
    ``payload`` (with the whole message), ``result`` and ``error`` that were too large to be read.
    """

    id: str
    queue: str
    state: str
    type: str = ""
    payload: bytes = b""
    result: bytes | None = None
    error: str = ""
    retried: int = 0
    max_retry: int = 0
    attempt: int = 0
    crashes: int = 0
    worker_id: str = ""
    timeout_s: int | None = None
    deadline_s: int | None = None
    pending_since_s: float | None = None
    due_s: float | None = None
    lease_until_s: float | None = None
    purge_at_s: float | None = None
    completed_at_s: float | None = None
    failed_at_s: float | None = None
    progress: Progress | None = None
    failures: Sequence[Attempt] = ()
    broken: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As ``tasks show --json`` and the page have it; payload and result decoded where they are JSON."""
        return {
            "task_id": self.id,
            "queue": self.queue,
            "state": self.state,
            "type": self.type,
            "payload": decoded(self.payload),
            "result": None if self.result is None else decoded(self.result),
            "error": self.error,
            "retried": self.retried,
            "max_retry": self.max_retry,
            "attempt": self.attempt,
            "crashes": self.crashes,
            "worker_id": self.worker_id,
            "timeout_s": self.timeout_s,
            "deadline_s": self.deadline_s,
            "pending_since_s": self.pending_since_s,
            "due_s": self.due_s,
            "lease_until_s": self.lease_until_s,
            "purge_at_s": self.purge_at_s,
            "completed_at_s": self.completed_at_s,
            "failed_at_s": self.failed_at_s,
            "progress": self.progress.as_json() if self.progress else None,
            "failures": [attempt.as_json() for attempt in self.failures],
            "broken": self.broken,
        }


@dataclass(frozen=True)
class WorkerView:
    """A worker as its heartbeat describes it.

    ``queues`` maps sub-queues to priorities. ``recovery`` maps parent queues to ``state`` (idle, recovering,
    degraded), ``consecutive_fails`` and ``total_restarts``. ``stale``: it has said nothing for 30 s; of one
    that Redis has forgotten, only the id is left.
    """

    id: str
    status: str = ""
    healthy: bool = False
    quiet: bool = False
    stale: bool = False
    started_at_s: int | None = None
    last_beat_s: int | None = None
    concurrency: int | None = None
    queues: Mapping[str, int] = field(default_factory=dict)
    recovery: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As ``workers list --json`` and the page have it."""
        return {
            "worker_id": self.id,
            "status": self.status,
            "healthy": self.healthy,
            "quiet": self.quiet,
            "stale": self.stale,
            "started_at_s": self.started_at_s,
            "last_beat_s": self.last_beat_s,
            "concurrency": self.concurrency,
            "queues": dict(self.queues),
            "recovery": {parent: dict(state) for parent, state in self.recovery.items()},
            "metrics": dict(self.metrics),
        }


@dataclass(frozen=True)
class OutputLine:
    """A line that task code printed. ``task_id`` is the one task that ran then, or empty."""

    at_ms: int
    worker_id: str
    source: str
    text: str
    task_id: str = ""

    def as_json(self) -> dict[str, Any]:
        """As ``tasks logs --json`` and the page have it."""
        return {
            "at_ms": self.at_ms,
            "worker_id": self.worker_id,
            "source": self.source,
            "text": self.text,
            "task_id": self.task_id,
        }


def decoded(content: bytes) -> Any:
    """``content`` as JSON, else as text."""
    try:
        return parsed(content)
    except ValueError:
        return content.decode(errors="replace")


def parsed(content: bytes | str) -> Any:
    """``content`` as JSON that every program reads. ValueError for NaN and the like, and for what is none."""
    text = content if isinstance(content, str) else content.decode(errors="replace")
    try:
        return json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc


def parsed_object(content: bytes | str) -> Mapping[str, Any]:
    """The JSON object that ``content`` is; empty where it is something else."""
    try:
        value = parsed(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def moment(value: Any) -> Any:
    """A number that is unix seconds; None for any other value: programs write what they like there."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= _LATEST_S else None


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refused(digits)
