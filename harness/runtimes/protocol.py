"""What a run needs of a worker, wherever it runs."""

from typing import Any, Protocol, Self


class Worker(Protocol):
    """One worker, from its start to its end. What it does is seen in its log, in Redis and at the server."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    def start(self) -> Self:
        """Start it; a second start is an error."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it without asking (SIGKILL), and it alone: what becomes of its processes is to be seen."""

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; returns the exit status, a signal's negative. Raises TimedOut."""

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""

    def log_text(self) -> str:
        """All it printed so far."""

    def log_events(self) -> list[dict[str, Any]]:
        """The lines of that which are JSON objects (``RUNQY_LOG_FORMAT=json``)."""

    def children(self) -> list[int]:
        """Processes it started, and theirs, whether it still lives or not."""

    def close(self) -> None:
        """End it and everything it started; idempotent."""
