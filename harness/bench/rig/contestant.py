"""What the benchmark asks of a worker it measures, ours or a peer, so that all are measured alike."""

from dataclasses import dataclass
from typing import Protocol

from harness.sandbox.runtimes.process import WorkerProcess

#: Seconds between looks at how far a worker is: what is measured must not wait for us.
LOOK_EVERY_S = 0.005


@dataclass(frozen=True)
class Running:
    """A started worker. ``pids`` are the processes whose memory and CPU are the worker's."""

    process: WorkerProcess
    pids: tuple[int, ...]


class Contestant(Protocol):
    """A worker with its own queue in the run's Redis. Its task returns the time at which it began."""

    @property
    def name(self) -> str:
        """As it stands in the tables."""

    @property
    def how(self) -> str:
        """Its configuration, in a line."""

    @property
    def concurrencies(self) -> tuple[int, ...]:
        """Those it can do in one process."""

    def enqueue(self, count: int) -> None:
        """Put so many tasks into its queue."""

    def done(self) -> int:
        """Results stored since Redis was emptied; one command."""

    def start(self, concurrency: int) -> WorkerProcess:
        """Start a worker; it takes what is in the queue as soon as it can."""

    def running(self, process: WorkerProcess) -> Running:
        """The same once it works, with its processes."""

    def latencies(self, count: int) -> list[float]:
        """Send so many tasks one by one to an idle worker, with random pauses.

        Seconds from just before each is sent to the time at which it began.
        """
