"""Tasks as asynq's inspector reads them: strictly, so that what it cannot read is an error here too.

Source: the layout as ``docs/protocol.md`` has it, and what the real inspector was seen to refuse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from harness.queue import asynq, wire

STATES = ("active", "pending", "scheduled", "retry", "archived", "completed", "aggregating")
#: States of tasks that wait for a time.
DUE = frozenset({"scheduled", "retry"})
_SORTED = frozenset({"scheduled", "retry", "archived", "completed"})


class Unreadable(Exception):
    """asynq's inspector would fail with this text."""


class TaskGone(Unreadable):
    """There is no such task."""


@dataclass(frozen=True)
class Inspected:
    """A task. ``due_wall_s`` is unix seconds for one that waits for its time, else 0."""

    message: dict[str, Any]
    state: str
    due_wall_s: int
    result: bytes


class Inspector:
    """Raises redis.RedisError where Redis does not answer."""

    def __init__(self, db: redis.Redis) -> None:
        self._db: Any = db

    def task(self, queue: str, task_id: str) -> Inspected:
        """One task. Raises :class:`Unreadable`."""
        self._queue_exists(queue)
        found = self._db.hmget(asynq.task_key(queue, task_id), "msg", "state", "result")
        if not any(value is not None for value in found) and not self._exists(queue, task_id):
            raise TaskGone("asynq: task not found")
        message, state, result = (value or b"" for value in found)
        name = state.decode(errors="replace")
        score = self._db.zscore(asynq.key(queue, name), task_id) if name in DUE else 0
        due_wall_s = _whole(score, "unexpected value returned from Lua script")
        try:
            decoded = wire.decode(message)
        except wire.WireError as exc:
            raise Unreadable("asynq: INTERNAL_ERROR: could not decode task message") from exc
        if name not in STATES:
            # Said twice, as in lists with a fraction: asynq wraps its own error in one of the same kind.
            twice = "FAILED_PRECONDITION: FAILED_PRECONDITION"
            raise Unreadable(f'asynq: {twice}: "{name}" is not supported task state')
        return Inspected(decoded, name, due_wall_s, result)

    def tasks(self, queue: str, state: str, limit: int) -> Sequence[Inspected]:
        """The first ``limit`` tasks in ``state``, pending and active ones as they are served.

        Raises :class:`Unreadable`. A task whose message cannot be decoded is left out.
        """
        self._queue_exists(queue)
        found = []
        for task_id, score in self._entries(queue, state, limit):
            due_wall_s = _whole(
                score, f"INTERNAL_ERROR: cast error: Lua script returned unexpected value: {score}"
            )
            message, result = self._db.hmget(asynq.task_key(queue, task_id), "msg", "result")
            try:
                decoded = wire.decode(message or b"")
            except wire.WireError:
                continue
            found.append(Inspected(decoded, state, due_wall_s if state in DUE else 0, result or b""))
        return found

    def _entries(self, queue: str, state: str, limit: int) -> list[tuple[str, float]]:
        place = asynq.key(queue, state)
        if state in _SORTED:
            entries = self._db.zrange(place, 0, limit - 1, withscores=True)
            return [(task_id.decode(), score) for task_id, score in entries]
        return [(task_id.decode(), 0) for task_id in reversed(self._db.lrange(place, -limit, -1))]

    def _queue_exists(self, queue: str) -> None:
        if not self._db.sismember(asynq.QUEUES, queue):
            raise Unreadable("asynq: queue not found")

    def _exists(self, queue: str, task_id: str) -> bool:
        return bool(self._db.exists(asynq.task_key(queue, task_id)))


def _whole(score: float | None, problem: str) -> int:
    """A score as asynq parses it: no fraction; a missing one is 0."""
    if score is None:
        return 0
    if not float(score).is_integer():
        raise Unreadable(f"asynq: INTERNAL_ERROR: {problem}")
    return int(score)
