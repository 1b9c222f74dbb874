"""What the server knows and remembers: queues, faults, and what was asked of it."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.server.config import QueueConfig
from harness.server.faults import Faults


@dataclass(frozen=True)
class Recorded:
    """One request as it was answered; ``status`` 0 is one whose connection was dropped.

    ``body`` is the JSON that was sent, None where there was none or it was not read. ``role`` is whose key
    it carried, empty for none or a wrong one; keys themselves are not kept.
    """

    at_wall_s: float
    method: str
    path: str
    role: str
    status: int
    took_s: float
    body: Any = field(repr=False, default=None)


@dataclass(frozen=True)
class Complaint:
    """Something a worker or client sent that it must not send."""

    at_wall_s: float
    method: str
    path: str
    problem: str


class State:
    """The rest. Safe to use from several threads."""

    def __init__(self, queues: Iterable[QueueConfig], routes: Iterable[str]) -> None:
        """``routes`` are what may be faulty."""
        self._queues = {queue.name: queue for queue in queues}
        self._lock = threading.Lock()
        self._requests: list[Recorded] = []
        self._complaints: list[Complaint] = []
        self.faults = Faults(routes)

    def configure(self, queue: QueueConfig) -> None:
        """Add the queue, or replace the one of its name."""
        with self._lock:
            self._queues[queue.name] = queue

    @property
    def parents(self) -> tuple[str, ...]:
        """The parent queues, sorted."""
        with self._lock:
            return tuple(sorted(self._queues))

    @property
    def queues(self) -> tuple[str, ...]:
        """The sub-queues of all parent queues, by parent and falling priority."""
        with self._lock:
            parents = [self._queues[name] for name in sorted(self._queues)]
        return tuple(name for parent in parents for name in parent.priorities())

    def parent_of(self, name: str) -> QueueConfig | None:
        """The parent queue that ``name`` is, or is a sub-queue of; None for an unknown name."""
        parent, dot, _ = name.partition(".")
        with self._lock:
            found = self._queues.get(parent)
        return found if found is not None and (not dot or name in found.priorities()) else None

    def record(self, request: Recorded, complaints: Iterable[str] = ()) -> None:
        """Remember a request, and what was wrong with it."""
        with self._lock:
            self._requests.append(request)
            self._complaints += [
                Complaint(request.at_wall_s, request.method, request.path, problem) for problem in complaints
            ]

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """All so far, in the order of their answers."""
        with self._lock:
            return tuple(self._requests)

    @property
    def complaints(self) -> tuple[Complaint, ...]:
        """All so far."""
        with self._lock:
            return tuple(self._complaints)
