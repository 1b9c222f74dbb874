"""Waiting for a worker that may end before it does what is awaited."""

from collections.abc import Callable
from typing import TypeVar

from harness import wait
from harness.sandbox.runtimes.protocol import Worker

T = TypeVar("T")


class WorkerEnded(wait.TimedOut):
    """The worker ended before what was awaited; ``headline`` is the message without its log."""

    def __init__(self, headline: str, log: str) -> None:
        super().__init__(f"{headline}; its log ends:\n{log}")
        self.headline = headline


def until(
    worker: Worker,
    check: Callable[[], T],
    timeout_s: float,
    what: str,
    *,
    fatal: tuple[type[Exception], ...] = (),
    longest_pause_s: float = wait.LONGEST_PAUSE_S,
) -> T:
    """As :func:`harness.wait.until`, but not longer than ``worker`` lives; its log is the diagnosis.

    Raises TimedOut, at once :class:`WorkerEnded` where it ended, and whatever ``fatal`` names.
    """

    def look() -> T | None:
        # Asked first: what the worker did up to its end counts.
        status = worker.exit_status
        try:
            value = check()
        except fatal:
            raise
        except Exception:
            if status is None:
                raise
        else:
            if value or status is None:
                return value
        raise WorkerEnded(
            f"{worker.name} ended with exit status {status} while waiting for {what}", worker.tail()
        )

    found = wait.until(
        look,
        timeout_s,
        what,
        worker.tail,
        longest_pause_s=longest_pause_s,
        fatal=(*fatal, WorkerEnded),
    )
    assert found is not None
    return found
