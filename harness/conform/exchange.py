"""What an exchange of the contract is made of. Pure data.

Texts may name ``{parent}``, the parent queue that is played with, ``{queue}``, one of its sub-queues,
``{task}``, a task that was enqueued beforehand, and ``{id}``, what :attr:`Exchange.given` put into Redis.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.conform.shape import ANYTHING

#: Whose key: the roles of the server, one it does not know, and none at all.
ADMIN, WORKER, CLIENT, WRONG, NONE = "admin", "worker", "client", "wrong", ""
JSON = "application/json"
UNAUTHORIZED = {"errors": ["access unauthorized"]}
FORBIDDEN = {"errors": ["insufficient permissions"]}


@dataclass(frozen=True)
class Ask:
    """A request. ``body`` is a JSON value, or bytes as they are; ``headers`` may name keys, too."""

    method: str
    path: str
    key: str = NONE
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GivenTask:
    """A task in Redis. ``due_in_s`` is its score from now on; without ``stored`` it has a lookup alone."""

    state: str
    fields: Mapping[str, str] = field(default_factory=dict)
    message: Mapping[str, Any] = field(default_factory=dict)
    due_in_s: float = 3_600
    stored: bool = True


@dataclass(frozen=True)
class GivenWorker:
    """A worker's hash in Redis, its last beat so many seconds ago."""

    fields: Mapping[str, str]
    beat_ago_s: int = 0


@dataclass(frozen=True)
class Exchange:
    """One request, its answer, and what it does in Redis.

    ``status``, ``answer`` and ``content_type`` are patterns of the response, ``answer`` of its JSON or text.
    ``given`` is what stands in Redis before, ``leaves`` a pattern of each new task there (see
    :meth:`harness.conform.records.Records.task_record`), ``writes`` one of how they were written (see
    :func:`harness.conform.records.written`).
    ``slow``: it takes half a minute.
    """

    name: str
    ask: Ask
    status: int
    answer: Any = ANYTHING
    content_type: str = JSON
    given: GivenTask | GivenWorker | None = None
    leaves: Any = None
    writes: Any = None
    slow: bool = False
