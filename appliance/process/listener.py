"""What one OS process reports while it lives and when it ends. Pure."""

from typing import Protocol

from appliance.process.answers import Answer, Ready, StartError
from appliance.process.progress import Report
from appliance.values import value_class


@value_class
class ProcessExit:
    """How a process ended. ``returncode`` is None for one that never started or never vanished.

    ``charged_to`` is the id of the task that a crash is charged to, empty where it counts in recovery.
    """

    text: str
    returncode: int | None
    at_monotonic_s: float
    uptime_s: float
    stderr_tail: tuple[str, ...]
    memory_peak_bytes: int | None
    charged_to: str = ""


class Listener(Protocol):
    """Receives what a child reports; each call comes from one of the child's greenlets and must not block."""

    def on_event(self, event: Ready | StartError | Answer | Report) -> None:
        """The process said something of the protocol."""

    def on_output(self, source: str, text: str) -> None:
        """The process printed a line; ``source`` is stdout or stderr, ``text`` is redacted."""

    def on_broken(self, reason: str) -> None:
        """The process lives but can no longer work, for ``reason``."""

    def on_exit(self, ended: ProcessExit) -> None:
        """The process and its descendants are gone. This is the last call."""
