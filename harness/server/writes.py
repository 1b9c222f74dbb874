"""How tasks get into Redis: in the order of the real server, each step on its own.

A single task is five steps, and a worker may be done with it after the first. A batch puts up to
:data:`ROUND` tasks into the queue before the stamps and the lookup of the first of them are written.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import redis

from harness.queue import asynq, wire
from harness.server.age import ASYNQ_TIMEOUT_S, Rules
from harness.server.config import Limits

#: Tasks of a batch that are put into the queue before anything else is written for them.
ROUND = 100
OLDER_LIMITS = Limits()


class Write(Enum):
    """The steps, in their order."""

    TASK = "the task, and its id in pending"
    STAMPS = "lifetimes and time limits on the task's hash"
    LOOKUP = "the reverse lookup"
    EXPIRY = "the lifetime of the reverse lookup"
    QUEUE = "the queue's name in the set of queues"


@dataclass(frozen=True)
class NewTasks:
    """Tasks of one queue: ``limits`` are the queue's, ``timeout_s`` what was asked for (0: nothing)."""

    queue: str
    payloads: Sequence[bytes]
    timeout_s: int
    limits: Limits


class Writer:
    """Writes tasks. ``before`` is called before each step but the first of a request."""

    def __init__(self, db: redis.Redis, rules: Rules, before: Callable[[Write], None]) -> None:
        self._db: Any = db
        self._rules = rules
        self._before = before
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def add(self, new: NewTasks) -> Mapping[str, Any]:
        """Write a single task and return its message. Raises redis.RedisError."""
        message = self._message(new, new.payloads[0])
        task_id = message["id"]
        self._put(new.queue, message)
        if self._rules.limits:
            self._before(Write.STAMPS)
            self._stamp(self._db, new, task_id)
        self._before(Write.LOOKUP)
        self._db.hset(asynq.lookup_key(task_id), "queue", new.queue)
        if self._rules.lookup_ttl_s is not None:
            self._before(Write.EXPIRY)
            self._db.expire(asynq.lookup_key(task_id), self._rules.lookup_ttl_s)
        self._before(Write.QUEUE)
        self._db.sadd(asynq.QUEUES, new.queue)
        return message

    def add_batch(self, new: NewTasks) -> tuple[list[str], list[str]]:
        """Write tasks; returns the ids of those in the queue, and what went wrong with the others."""
        task_ids: list[str] = []
        problems: list[str] = []
        late: list[str] = []
        for number, payload in enumerate(new.payloads, 1):
            message = self._message(new, payload)
            try:
                self._put(new.queue, message)
                late.append(message["id"])
            except redis.RedisError as exc:
                problems.append(str(exc))
            if number % ROUND == 0:
                task_ids += late
                problems += self._complete(new, late, last=False)
                late = []
        task_ids += late
        if task_ids:
            problems += self._complete(new, late, last=True)
        return task_ids, problems

    def _complete(self, new: NewTasks, task_ids: Sequence[str], *, last: bool) -> list[str]:
        """Write all that follows the tasks themselves, in one go but not in one transaction."""
        self._before(Write.STAMPS if self._rules.limits else Write.LOOKUP)
        try:
            with self._db.pipeline(transaction=False) as pipe:
                for task_id in task_ids:
                    if self._rules.limits:
                        self._stamp(pipe, new, task_id)
                    pipe.hset(asynq.lookup_key(task_id), "queue", new.queue)
                    if self._rules.lookup_ttl_s is not None:
                        pipe.expire(asynq.lookup_key(task_id), self._rules.lookup_ttl_s)
                if last:
                    pipe.sadd(asynq.QUEUES, new.queue)
                pipe.execute()
        except redis.RedisError as exc:
            return [f"pipeline error: {exc}"]
        return []

    def _put(self, queue: str, message: Mapping[str, Any]) -> None:
        with self._lock:
            known = queue in self._known
        if not known:
            # As asynq's client: once in the life of the server.
            self._db.sadd(asynq.QUEUES, queue)
            with self._lock:
                self._known.add(queue)
        fields = {"msg": wire.encode(message), "state": "pending", "pending_since": time.time_ns()}
        with self._db.pipeline(transaction=True) as pipe:
            pipe.hset(asynq.task_key(queue, message["id"]), mapping=fields)
            pipe.lpush(asynq.key(queue, "pending"), message["id"])
            pipe.execute()

    def _message(self, new: NewTasks, payload: bytes) -> dict[str, Any]:
        return {
            "id": str(uuid.uuid4()),
            "type": new.queue,
            "payload": payload,
            "queue": new.queue,
            "retry": self._limits(new).max_retry,
            "timeout": self._run_limit_s(new) or ASYNQ_TIMEOUT_S,
            "retention": self._limits(new).ttl_completed_s,
        }

    def _stamp(self, client: Any, new: NewTasks, task_id: str) -> None:
        stamps = {
            "ttl_completed": new.limits.ttl_completed_s,
            "ttl_archived": new.limits.ttl_archived_s,
            "pending_timeout": new.limits.pending_timeout_s,
            "active_timeout": self._run_limit_s(new),
        }
        client.hset(asynq.task_key(new.queue, task_id), mapping=stamps)

    def _limits(self, new: NewTasks) -> Limits:
        return new.limits if self._rules.limits else OLDER_LIMITS

    def _run_limit_s(self, new: NewTasks) -> int:
        """What was asked for, else the queue's limit; 0 is none."""
        if new.timeout_s > 0 or (new.timeout_s < 0 and self._rules.negative_timeouts):
            return new.timeout_s
        return self._limits(new).active_timeout_s
