"""What goes to a task process and what comes back, as values.

``Request`` is one task on its way to the process; an ``Outcome`` is everything that can become
of it. The names carry the budget rule of the design: *Failed*, *Died*, *Expired* spend one of the
task's retries, *Returned* spends none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from appliance.process.supervisor import ProcessSpec


# A tuple, as is whatever is made for every task: a frozen dataclass takes several times as long.
class Request(NamedTuple):
    """One task for the process.

    ``payload`` is the task's bytes as they came; the process sees them as JSON, or ``null`` when
    they are not. ``run_limit_s`` bounds its run from the moment it is the oldest one in flight
    (a process that works one at a time owes the ones behind it nothing yet);
    ``deadline_monotonic_s`` bounds it absolutely. None is no bound.
    """

    task_id: str
    queue: str
    type: str
    payload: bytes
    retry_count: int
    max_retry: int
    run_limit_s: float | None = None
    deadline_monotonic_s: float | None = None


class Succeeded(NamedTuple):
    """The process answered without an error; ``result`` is JSON."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The process answered with an error; ``retry`` is the answer's own flag."""

    error: str
    retry: bool


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended while the task was in flight."""

    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The task outlived its limit; its process is being replaced."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked for the task to end."""

    reason: str


@dataclass(frozen=True, slots=True)
class Returned:
    """Not the task's fault and nothing came of it: it goes back uncharged."""

    reason: str


Outcome = Succeeded | Failed | Died | Expired | Cancelled | Returned
Deliver = Callable[[Request, Outcome], None]


@dataclass(frozen=True, slots=True)
class RunnerState:
    """What the heartbeat and the log say of a runner; ``recovery`` is idle, recovering or degraded."""

    recovery: str
    ready: bool
    consecutive_fails: int
    total_restarts: int
    pids: tuple[int, ...]


class Runner(Protocol):
    """Runs tasks in supervised processes; long_running and one_shot are its two kinds."""

    def start(self) -> None:
        """Begin; returns at once. Becoming ready is announced through the ``on_change`` callback."""

    def stop(self, grace_s: float) -> None:
        """End for good, in steps (ask, wait ``grace_s``, force); returns when nothing is left alive.

        Answers that arrive meanwhile count; what is still in flight at the end is delivered as
        :class:`Returned`. Idempotent.
        """

    @property
    def ready(self) -> bool:
        """Whether :meth:`submit` would be accepted now."""

    def submit(self, request: Request, deliver: Deliver) -> None:
        """Hand over one task; ``deliver`` is called exactly once, from another greenlet, and must not block.

        Raises :class:`~appliance.errors.ProcessNotReady` where the task was not sent.
        """

    def succeed(self, spec: "ProcessSpec", done: Callable[[str | None], None]) -> None:
        """Let a process of ``spec`` take over when it works; tasks in flight end where they are.

        ``done`` is called once, from any greenlet: with None when it has taken over, with why not when
        what runs is kept. Only one may be under way. Must not be called after :meth:`stop`.
        """

    def folders(self) -> set[Path]:
        """Where processes run now, or would be started next."""

    def cancel(self, task_id: str, reason: str) -> None:
        """End the task if it is in flight here; an unknown id is nothing to do."""

    def state(self) -> RunnerState:
        """A snapshot for people."""
