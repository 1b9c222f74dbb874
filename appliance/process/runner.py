"""What the rest of the worker knows of running tasks: a request goes in, one outcome comes out. Pure.

:class:`Runner` has two implementations, in :mod:`appliance.process.runners`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from appliance.process.outcome import Outcome
from appliance.process.spec import ProcessSpec
from appliance.values import value_class


# A tuple, as is whatever is made for every task: compared and hashed several times faster than a value.
class Request(NamedTuple):
    """One task for the process.

    ``payload`` is the task's bytes as they came; the process sees them as JSON, or ``null`` when
    they are not. ``run_limit_s`` bounds its run from the moment it is the oldest one in flight
    (a process that works on one task at a time has not begun the ones behind it);
    ``deadline_monotonic_s`` bounds it absolutely. None is no bound. ``crashes`` is how many of its runs have
    ended in a crash of the process.
    """

    task_id: str
    queue: str
    type: str
    payload: bytes | memoryview
    retry_count: int
    max_retry: int
    run_limit_s: float | None = None
    deadline_monotonic_s: float | None = None
    crashes: int = 0


Deliver = Callable[[Request, Outcome], None]


@value_class(slots=True)
class RunnerState:
    """What the heartbeat and the log say of a runner; ``recovery`` is idle, recovering or degraded."""

    recovery: str
    ready: bool
    consecutive_fails: int
    total_restarts: int
    pids: tuple[int, ...]


class Runner(Protocol):
    """Runs tasks in supervised processes."""

    def start(self) -> None:
        """Begin; returns at once. Becoming ready is announced through the ``on_change`` callback."""

    def stop(self, grace_s: float) -> None:
        """End for good, in steps (ask, wait ``grace_s``, force); returns when nothing is left alive.

        Answers that arrive meanwhile count; what is still in flight at the end is delivered as
        :class:`~appliance.process.outcome.Returned`. Idempotent.
        """

    @property
    def ready(self) -> bool:
        """Whether :meth:`submit` would be accepted now."""

    def submit(self, request: Request, deliver: Deliver) -> None:
        """Hand over one task; ``deliver`` is called exactly once, from another greenlet, and must not block.

        Raises :class:`~appliance.errors.ProcessNotReady` where the task was not sent.
        """

    def hand_over(self, spec: ProcessSpec, done: Callable[[str | None], None]) -> None:
        """Let a process of ``spec`` take over once it works; tasks in flight end where they are.

        ``done`` is called once, from any greenlet: with None when the process has taken over, or with the
        reason why what runs is kept. RuntimeError while another is under way. Must not be called after
        :meth:`stop`.
        """

    def folders(self) -> set[Path]:
        """Where processes run now, or would be started next."""

    def cancel(self, task_id: str, reason: str) -> None:
        """End the task if it is in flight here; an unknown id changes nothing."""

    def limit(self, task_id: str, run_limit_s: float | None) -> None:
        """Bound the run of a task by another limit than its request's; an unknown id is nothing to do."""

    def state(self) -> RunnerState:
        """Return a snapshot for heartbeat, status and log."""
