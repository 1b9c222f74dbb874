"""What becomes of a task, given the outcome of its run. Pure: outcomes in, settlements out.

Two budgets, as the design says: a failure of the task spends one of its retries; trouble of the
infrastructure spends none.
"""

from typing import NamedTuple

from appliance.config.settings import RetrySettings, TaskSettings
from appliance.process.outcome import (
    Cancelled,
    Crashed,
    Failed,
    Lapsed,
    Outcome,
    Returned,
    Succeeded,
    TimedOut,
)
from appliance.queue.message import Lease, Task, after_failure
from appliance.queue.result import stored
from appliance.values import value_class

#: Longest error text kept with a task, in characters: enough for a traceback, too little to fill Redis.
MAX_ERROR_CHARS = 16_384


# A tuple, as is whatever is made for every task: compared and hashed several times faster than a value.
class Complete(NamedTuple):
    """The task is done; ``ttl_s`` 0 keeps it for ever."""

    lease: Lease
    result: bytes
    ttl_s: float
    unique_key: str


@value_class(slots=True)
class Retry:
    """The task runs again after ``delay_s``; ``message`` is the rewritten one, empty for a legacy task.

    ``crashes`` is how many of its runs have ended in a crash of the task process by now.
    """

    lease: Lease
    delay_s: float
    retried: int
    error_msg: str
    message: bytes
    crashes: int = 0


@value_class(slots=True)
class Archive:
    """The task failed for good. ``crashes`` as of a :class:`Retry`."""

    lease: Lease
    ttl_s: float
    error_msg: str
    message: bytes
    crashes: int = 0


@value_class(slots=True)
class Return:
    """The task waits again, uncharged."""

    lease: Lease
    reason: str


@value_class(slots=True)
class Defer:
    """The task waits, uncharged, for ``delay_s`` and then for any worker."""

    lease: Lease
    delay_s: float
    reason: str


Settlement = Complete | Retry | Archive | Return | Defer


@value_class(slots=True)
class Policy:
    """How outcomes are judged: the retry and lifetime settings."""

    retry: RetrySettings
    tasks: TaskSettings

    def settle(self, task: Task, outcome: Outcome, now_wall_s: float) -> Settlement:
        """Decide. ``now_wall_s`` is recorded as the time of a failure."""
        match outcome:
            case Succeeded():
                result = stored(outcome.result)
                return Complete(task.lease, result, self._ttl_completed_s(task), task.unique_key)
            case Returned(reason):
                return Return(task.lease, reason)
            case Failed(error, retry):
                again = retry or self.retry.policy == "always"
                return self._failure(task, error, again, now_wall_s)
            case Crashed(reason):
                task = task._replace(crashes=task.crashes + 1)
                # Once may be the fault of another task that ran beside it; after that it ran alone.
                if task.crashes > 1 and task.retried >= self.max_retry(task):
                    reason = f"crashed the process {task.crashes} times; {reason}"
                return self._failure(task, reason, True, now_wall_s)
            case Lapsed(reason) | TimedOut(reason):
                return self._failure(task, reason, True, now_wall_s)
            case Cancelled(reason):
                return self._failure(task, reason, False, now_wall_s)

    def refuse(self, lease: Lease, reason: str) -> Archive:
        """Settle a task that cannot be understood: kept as it is, with the reason beside it."""
        return Archive(lease, self.tasks.ttl_archived_s, reason, b"")

    def max_retry(self, task: Task) -> int:
        """The retries this task has: its own count, capped by RUNQY_MAX_RETRY where that was set."""
        if task.max_retry is None:
            return self.retry.max_retry
        if self.retry.max_retry_caps:
            return min(task.max_retry, self.retry.max_retry)
        return task.max_retry

    def overdue(self, task: Task, now_wall_s: float) -> str | None:
        """Why the task is not to be run any more (it waited too long), or None."""
        limit_s = _first_set(task.stamps.pending_timeout_s, self.tasks.pending_timeout_s)
        if limit_s and task.pending_since_wall_s and now_wall_s - task.pending_since_wall_s > limit_s:
            return f"pending timeout: waited longer than {limit_s:g} s"
        return None

    def run_limit_s(self, task: Task) -> float | None:
        """How long a run may take; None: as long as it likes.

        A stamp decides alone: servers write some ``timeout`` into every message, also where none is meant.
        Without one it is the earliest of the message's timeout and the active timeout.
        """
        stamped_s = task.stamps.active_timeout_s
        limits_s = (self.tasks.active_timeout_s, task.timeout_s) if stamped_s is None else (stamped_s,)
        return min((limit_s for limit_s in limits_s if limit_s and limit_s > 0), default=None)

    def _failure(self, task: Task, error: str, again: bool, now_wall_s: float) -> Retry | Archive:
        retries_left = task.retried < self.max_retry(task)
        # Lone surrogates have no UTF-8 and would make the message unwritable.
        error = error[:MAX_ERROR_CHARS].encode(errors="replace").decode()
        retried = task.retried + 1 if again and retries_left else task.retried
        message = b""
        if task.message is not None:
            message = after_failure(
                task.message, retried=retried, error_msg=error, failed_at_wall_s=now_wall_s, apart=task.apart
            )
        if again and retries_left:
            return Retry(task.lease, self._retry_delay_s(retried), retried, error, message, task.crashes)
        ttl_s = _first_set(task.stamps.ttl_archived_s, self.tasks.ttl_archived_s)
        return Archive(task.lease, ttl_s, error, message, task.crashes)

    def _retry_delay_s(self, nth: int) -> float:
        # The exponent is the reference's; the bound keeps a large count from overflowing a float.
        return min(min(nth, 1_000) ** 4 * self.retry.base_delay_s, self.retry.max_delay_s)

    def _ttl_completed_s(self, task: Task) -> float:
        if task.stamps.ttl_completed_s is not None:
            return task.stamps.ttl_completed_s
        # Servers write a retention into every message, so it comes behind what the operator asked for.
        set_s = self.tasks.ttl_completed_s if self.tasks.ttl_completed_is_set else None
        return _first_set(set_s, task.retention_s or None, self.tasks.ttl_completed_s)


def _first_set(*values: float | None) -> float:
    return next(value for value in values if value is not None)
