"""A task that was sent, and how it ended, as a test sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.queue import asynq
from harness.sandbox import tasks


class TaskFailed(AssertionError):
    """A result was asked for that there is not, because the task failed."""


@dataclass(frozen=True)
class Ended:
    """How a task ended. ``state`` is ``completed`` or ``archived``; ``error`` is the last one, empty if none;
    ``retried`` is how many retries it was charged."""

    task_id: str
    state: str
    error: str
    retried: int
    value: Any

    @property
    def result(self) -> Any:
        """What the task returned. Raises :class:`TaskFailed` where it did not complete."""
        __tracebackhide__ = True
        if self.state != "completed":
            raise TaskFailed(f"the task failed, it is {self.state}: {self.error}")
        return self.value


class Task:
    """A task on its way."""

    def __init__(self, task_id: str, queue: str, db: Any, until: Callable[..., Any]) -> None:
        self.task_id = task_id
        self._queue = queue
        self._db = db
        self._until = until

    def begun(self, timeout_s: float = 60.0) -> None:
        """Wait until a worker has it. Raises :class:`harness.wait.TimedOut`."""
        __tracebackhide__ = True
        self._until(lambda: self._place() != "pending", timeout_s, "the task to begin")

    def ended(self, timeout_s: float = 60.0) -> Ended:
        """Wait for its end. Raises :class:`harness.wait.TimedOut`, and where the worker ends."""
        __tracebackhide__ = True
        self._until(lambda: self._place() in {"completed", "archived"}, timeout_s, "the task to end")
        stored = tasks.stored(self._db, self._queue, self.task_id)
        return Ended(
            task_id=self.task_id,
            state=stored.state,
            error="" if stored.state == "completed" else stored.fields.get("error_msg", ""),
            retried=tasks.retried(stored),
            value=stored.result,
        )

    def _place(self) -> str:
        return asynq.where_is(self._db, self._queue, self.task_id)
