"""What the server knows and remembers: queues, keys, faults, and what was asked of it."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.server.config import QueueConfig
from harness.server.faults import Faults


class UnknownQueue(Exception):
    """The server has no such queue; the message says which ones there are."""


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

    def __init__(
        self, queues: Iterable[QueueConfig], keys: Iterable[tuple[str, str]], routes: Iterable[str]
    ) -> None:
        """``keys`` are pairs of a role and its key; ``routes`` are what may be faulty."""
        self._queues = {queue.name: queue for queue in queues}
        self._keys = tuple(keys)
        self._lock = threading.Lock()
        self._requests: list[Recorded] = []
        self._complaints: list[Complaint] = []
        self.faults = Faults(routes)

    def configure(self, queue: QueueConfig) -> None:
        """Add the queue, or replace the one of its name."""
        with self._lock:
            self._queues[queue.name] = queue

    def queue(self, parent: str) -> QueueConfig:
        """The parent queue. Raises :class:`UnknownQueue`."""
        with self._lock:
            found = self._queues.get(parent)
            known = sorted(self._queues)
        if found is None:
            raise UnknownQueue(f"queue {parent!r} not found; there are: {', '.join(known) or 'none'}")
        return found

    def sub_queue(self, name: str) -> str:
        """The full name of where a task for ``name`` goes. Raises :class:`UnknownQueue`."""
        parent, dot, _ = name.partition(".")
        queue = self.queue(parent)
        full = name if dot else queue.full_name("default")
        known = queue.priorities()
        if full not in known:
            raise UnknownQueue(f"queue {full!r} not found; {parent} has: {', '.join(known)}")
        return full

    def role(self, key: str, wanted: str) -> str:
        """Whose key it is: ``wanted`` where it is that one's among others', empty for nobody's."""
        roles = [role for role, known in self._keys if known == key]
        return wanted if wanted in roles else next(iter(roles), "")

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
