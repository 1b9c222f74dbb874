"""Waiting for a worker that may end before it does what is awaited."""

from collections.abc import Callable

from harness import wait
from harness.runtimes.process import WorkerProcess
from harness.wait import TimedOut

#: Seconds between looks at how far a worker is.
LOOK_EVERY_S = 0.005


def until(process: WorkerProcess, check: Callable[[], object], timeout_s: float, what: str) -> None:
    """Return soon after ``check`` is true. Raises TimedOut with its log, at once if the worker ended."""
    wait.until(
        lambda: process.exit_status is not None or check(),
        timeout_s,
        what,
        process.tail,
        longest_pause_s=LOOK_EVERY_S,
    )
    if process.exit_status is not None:
        ended = f"{process.name} ended with exit status {process.exit_status}, waited for {what}"
        raise TimedOut(f"{ended}; its log ends:\n{process.tail()}")
