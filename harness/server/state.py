"""What the server knows and remembers: queues, keys, faults, and what was asked of it."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.server.config import QueueConfig


class UnknownQueue(Exception):
    """The server has no such queue; the message says which ones there are."""


@dataclass(frozen=True)
class Recorded:
    """One request as it was answered. ``body`` is the JSON that was sent, None where there was none.

    ``role`` is whose key it carried, empty for none or a wrong one; keys themselves are not kept.
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


@dataclass(frozen=True)
class Fault:
    """How to mistreat requests to a route: ``times`` of them, or all.

    ``delay_s`` comes first. Then ``garbage`` answers 200 with a body that is no JSON; ``status``
    answers that, with ``headers`` (``{"Retry-After": "1"}``); neither answers as usual.
    """

    status: int | None = None
    delay_s: float = 0.0
    garbage: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None

    def __post_init__(self) -> None:
        wanted: Sequence[tuple[str, Any, Any]] = (
            ("status", self.status, int | None),
            ("delay_s", self.delay_s, int | float),
            ("garbage", self.garbage, bool),
            ("headers", self.headers, Mapping),
            ("times", self.times, int | None),
        )
        for name, value, kind in wanted:
            if not isinstance(value, kind):
                raise TypeError(f"a fault's {name} is {value!r}, expected {getattr(kind, '__name__', kind)}")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"a fault's status is {self.status}, expected 200 to 599")


class Faults:
    """The table of faults, by route as it is written in the API: ``/queue/{id}``, not ``/queue/17``."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._routes = tuple(dict.fromkeys(routes))
        self._table: dict[str, Fault] = {}
        self._lock = threading.Lock()

    def set(self, route: str, fault: Fault) -> None:
        """Mistreat ``route`` from now on. Raises ValueError for a route that is none."""
        if route not in self._routes:
            raise ValueError(f"route {route!r}: expected one of {', '.join(self._routes)}")
        with self._lock:
            self._table[route] = fault

    def clear(self) -> None:
        """Behave again, everywhere."""
        with self._lock:
            self._table.clear()

    def take(self, route: str) -> Fault | None:
        """The fault for one request to ``route``; counts it."""
        with self._lock:
            fault = self._table.get(route)
            if fault is None or fault.times is None:
                return fault
            if fault.times <= 1:
                del self._table[route]
            else:
                self._table[route] = replace(fault, times=fault.times - 1)
            return fault


class State:
    """The rest. Safe to use from several threads."""

    def __init__(self, queues: Iterable[QueueConfig], keys: Mapping[str, str], routes: Iterable[str]) -> None:
        """``keys`` maps a role, ``worker`` or ``client``, to its key; ``routes`` are what may be faulty."""
        self._queues = {queue.name: queue for queue in queues}
        self._keys = dict(keys)
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
        roles = [role for role, known in self._keys.items() if known == key]
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
