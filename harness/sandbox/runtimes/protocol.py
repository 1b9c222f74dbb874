"""What a run needs of workers, wherever they run.

Scenarios judge a worker by what stands in Redis, by what the server was asked, and by its handlers'
diary. Its log is for diagnoses only: another worker logs in another way.
"""

from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Protocol, Self


class CannotRun(Exception):
    """The runtime cannot be used here, or cannot do what was asked; a sentence that says what is missing."""


class Worker(Protocol):
    """One worker. Pids are as the worker itself sees them."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables it was given."""

    @property
    def exit_status(self) -> int | None:
        """None while it runs (or is paused); a signal's is negative."""

    def start(self) -> Self:
        """Start it; a second start is an error."""

    def restart(self) -> None:
        """Start it once more after its end, with the variables and the files it had; its log goes on."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it without asking (SIGKILL), and it alone: what becomes of its processes is to be seen."""

    def signal(self, number: int) -> None:
        """Send it a signal; none where it has ended."""

    def pause(self) -> None:
        """Freeze it and its processes, as a machine that is suspended."""

    def resume(self) -> None:
        """Let them go on."""

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; returns the exit status. Raises TimedOut with the log's tail."""

    def run(self, *arguments: str) -> "CompletedProcess[str]":
        """Run one of the worker's other commands (``health``, ``crashes``) beside it, while it runs."""

    def children(self) -> list[int]:
        """Processes it started, and theirs; where the runtime can tell, also after the worker's own end."""

    def signal_child(self, pid: int, number: int) -> None:
        """Send a signal to one of those; none where it has ended."""

    def read_text(self, path: str) -> str:
        """A file as the worker sees it, also after its end; empty where there is none."""

    def log_text(self) -> str:
        """All it printed so far."""

    def log_events(self) -> list[dict[str, Any]]:
        """The lines of that which are JSON objects (ours with ``RUNQY_LOG_FORMAT=json``); may be none."""

    def tail(self) -> str:
        """The log's last lines, for diagnoses."""

    def close(self) -> None:
        """End it and everything it started, and remove what it left; idempotent."""


class Runtime(Protocol):
    """Where workers run. Entered before anything that workers have to reach is started."""

    @property
    def name(self) -> str:
        """``process`` or ``docker``."""

    @property
    def address(self) -> str:
        """Where workers reach what listens on this machine; servers listen there, and only there."""

    @property
    def look_every_s(self) -> float:
        """How often a worker and its files may be looked at without becoming a load themselves."""

    @property
    def start_s(self) -> float:
        """What a start may take on a busy machine: registering, cloning, an environment."""

    def scratch(self, folder: Path) -> str:
        """A folder that a worker of ``folder`` may write to, as it sees it."""

    def settings(self, folder: Path) -> Mapping[str, str]:
        """Variables that a worker of ``folder`` needs here, beside its own."""

    def worker(
        self, name: str, env: Mapping[str, str], folder: Path, *, memory_bytes: int | None = None
    ) -> Worker:
        """A worker that is not started yet, with the variables ``env``; ``folder`` is for its files.

        ``memory_bytes`` is the most it and its processes may have. Raises :class:`CannotRun` where the
        runtime has no such limits.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
