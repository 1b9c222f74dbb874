"""How long the start took, phase by phase, for the log and for those who want it shorter."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.clock import Clock

_STAT = Path("/proc/self/stat")


class Startup:
    """Phases: import, register, redis, deploy (of the slowest queue), process (until all are ready)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_s = clock.monotonic()
        #: Seconds by phase, as far as the start has come.
        self.phases: dict[str, float] = {}
        #: Seconds from the first instruction until every task process was ready; None before that.
        self.total_s: float | None = None

    def add(self, phase: str, seconds: float) -> None:
        """A phase took so long."""
        self.phases[phase] = round(seconds, 3)
        self._last_s = self._clock.monotonic()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is inside; of several at once the last to end counts."""
        started_s = self._clock.monotonic()
        yield
        self.add(name, self._clock.monotonic() - started_s)

    def done(self) -> None:
        """Everything is ready; what came after the last phase was waiting for the processes."""
        self.add("process", self._clock.monotonic() - self._last_s)
        self.total_s = round(sum(self.phases.values()), 3)


def age_of_process_s() -> float:
    """Seconds since this process began, the interpreter's start included; 0 where that is not known."""
    try:
        # After the name, which may hold anything, in clock ticks since boot.
        ticks = int(_STAT.read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
