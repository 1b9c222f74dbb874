"""Reads queues, tasks, workers and output out of Redis, for people: the command line and the web page.

Unlike the server's inspector (:mod:`harness.server.inspector`, strict as asynq's) it shows what it can of
what it finds. It changes nothing; :mod:`harness.queue.operations` does. It works on a single Redis and on a
cluster; the client must answer in bytes. Every method raises redis.RedisError where Redis does not answer.

What it shows of ``progress`` and ``failures`` stands in the task's hash, see ``docs/protocol.md``.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.queue import asynq, beats, wire
from harness.queue.views import (
    STATES,
    Attempt,
    OutputLine,
    Progress,
    QueueView,
    TaskView,
    WorkerView,
    moment,
    parsed_object,
)

#: Tasks of a list unless more are asked for.
PAGE = 50
#: Commands that travel together, so that a large queue is not asked for at once.
_TOGETHER = 500
_LISTS = frozenset({"pending", "active"})
#: Places whose highest score is the newest entry; of the other sorted sets the lowest one is due first.
_NEWEST_FIRST = frozenset({"completed", "archived"})
_DUE = frozenset({"scheduled", "retry"})
#: Above this a ``pending_since`` is nanoseconds (asynq's clients), below it seconds (the Go worker).
_NANOSECONDS_ABOVE = 10**14
_FIELDS = (
    "msg",
    "state",
    "owner",
    "attempt",
    "crashes",
    "retried",
    "error_msg",
    "pending_since",
    "last_failed_at",
    "completed_at",
    "progress",
    "failures",
    # The older form, without a message.
    "type",
    "payload",
    "max_retry",
    "timeout",
    "deadline",
)


#: Fields that can be large, and what they are called where they are left out.
_LARGE = frozenset({"msg", "result", "error_msg", "payload", "failures", "progress"})
_SHOWN_AS = {"msg": "payload", "error_msg": "error"}


class NotThere(LookupError):
    """There is no such task, queue or worker; the message is a sentence that says so."""


class Inspector:
    """See the module. Of a message, a result or an error above ``largest_bytes`` only the size is read."""

    def __init__(self, db: Any, largest_bytes: int | None = None) -> None:
        self._db = db
        self._largest_bytes = largest_bytes

    # Queues --------------------------------------------------------------------------------------

    def queues(self) -> list[QueueView]:
        """All sub-queues that have had tasks, by name."""
        return [self._queue(name) for name in asynq.get_queues(self._db)]

    def queue(self, name: str) -> QueueView:
        """One sub-queue. Raises :class:`NotThere`."""
        if not self._db.sismember(asynq.QUEUES, name):
            raise NotThere(f"queue {name}: no task was ever sent to it")
        return self._queue(name)

    def _queue(self, name: str) -> QueueView:
        with self._db.pipeline(transaction=False) as pipe:
            for state in STATES:
                (pipe.llen if state in _LISTS else pipe.zcard)(asynq.key(name, state))
            pipe.get(asynq.key(name, "processed"))
            pipe.get(asynq.key(name, "failed"))
            pipe.get(asynq.key(name, "paused"))
            pipe.lrange(asynq.key(name, "pending"), -1, -1)
            *depths, processed, failed, paused, first = pipe.execute(raise_on_error=False)
        return QueueView(
            name=name,
            depths=dict(zip(STATES, map(_count, depths), strict=True)),
            processed=_count(processed),
            failed=_count(failed),
            paused=paused is not None,
            paused_at_s=moment(_number(paused)),
            waiting_s=self._waiting_s(name, first[0]) if isinstance(first, list) and first else None,
        )

    def _waiting_s(self, queue: str, task_id: bytes) -> float | None:
        since_s = _since(self._db.hget(asynq.task_key(queue, _text(task_id)), "pending_since"))
        return None if since_s is None else max(0.0, time.time() - since_s)

    # Tasks ---------------------------------------------------------------------------------------

    def tasks(self, queue: str, state: str, *, limit: int = PAGE, offset: int = 0) -> list[TaskView]:
        """Up to ``limit`` tasks of a sub-queue in ``state``, after the first ``offset``; without results.

        Pending ones come as they will be served, scheduled and retried ones as they are due, ended ones with
        the newest first. ValueError for a state that is none.
        """
        if state not in STATES:
            raise ValueError(f"state {state!r}: expected one of {', '.join(STATES)}")
        entries = self._entries(queue, state, limit, offset)
        found = []
        for start in range(0, len(entries), _TOGETHER):
            part = entries[start : start + _TOGETHER]
            read = self._read(queue, [task_id for task_id, _ in part], _FIELDS)
            for (task_id, score), (fields, left_out) in zip(part, read, strict=True):
                # Moved on since the list was read.
                if fields and _text(fields.get("state", b"")) == state:
                    found.append(_task(queue, task_id, fields, {state: score}, left_out))
        return found

    def task_ids(self, queue: str, state: str) -> list[str]:
        """The ids of all tasks of a sub-queue in ``state``."""
        return [task_id for task_id, _ in self._entries(queue, state, None, 0)]

    def task(self, task_id: str, queue: str | None = None) -> TaskView:
        """One task with all there is of it, in ``queue`` or wherever it is. Raises :class:`NotThere`."""
        queue = queue or self.queue_of(task_id)
        with self._db.pipeline(transaction=False) as pipe:
            for place in ("lease", *sorted(_DUE), *sorted(_NEWEST_FIRST)):
                pipe.zscore(asynq.key(queue, place), task_id)
            lease, retry, scheduled, archived, completed = pipe.execute(raise_on_error=False)
        ((fields, left_out),) = self._read(queue, [task_id], (*_FIELDS, "result"))
        if not fields:
            raise NotThere(f"task {task_id}: there is no such task in {queue} (any more)")
        scores = {
            "active": lease,
            "retry": retry,
            "scheduled": scheduled,
            "archived": archived,
            "completed": completed,
        }
        return _task(queue, task_id, fields, scores, left_out)

    def _read(
        self, queue: str, task_ids: Sequence[str], names: Sequence[str]
    ) -> list[tuple[dict[str, bytes], dict[str, int]]]:
        """Of each task the fields of its hash, and the sizes of those that are too large to be read."""
        keys = [asynq.task_key(queue, task_id) for task_id in task_ids]
        left_out: list[dict[str, int]] = [{} for _ in keys]
        large = [name for name in names if name in _LARGE] if self._largest_bytes is not None else []
        with self._db.pipeline(transaction=False) as pipe:
            for key in keys:
                for name in large:
                    pipe.hstrlen(key, name)
            sizes = iter(pipe.execute(raise_on_error=False) if large else ())
            for key, sizes_of_it in zip(keys, left_out, strict=True):
                for name in large:
                    size = next(sizes)
                    if isinstance(size, int) and size > (self._largest_bytes or 0):
                        sizes_of_it[name] = size
                pipe.hmget(key, [name for name in names if name not in sizes_of_it])
            replies = pipe.execute(raise_on_error=False)
        return [
            (_fields([name for name in names if name not in omitted], reply), omitted)
            for omitted, reply in zip(left_out, replies, strict=True)
        ]

    def queue_of(self, task_id: str, among: Sequence[str] | None = None) -> str:
        """The sub-queue a task is in, by its reverse lookup, else by looking. Raises :class:`NotThere`.

        Where there is ``among``, only these sub-queues are looked at.
        """
        looked_at = among
        if looked_at is None:
            named = asynq.get_queue_of(self._db, task_id)
            others = [name for name in asynq.get_queues(self._db) if name != named]
            looked_at = ([named] if named else []) + others
        for queue in looked_at:
            if self._db.exists(asynq.task_key(queue, task_id)):
                return queue
        where = f" in {', '.join(among)}" if among else ""
        raise NotThere(f"task {task_id}: there is no such task{where} (any more)")

    def _entries(self, queue: str, state: str, limit: int | None, offset: int) -> list[tuple[str, float]]:
        """Ids and scores (of lists: 0)."""
        place, last = asynq.key(queue, state), -1 if limit is None else offset + limit - 1
        if state in _LISTS:
            # Served from the right.
            first = 0 if limit is None else -offset - limit
            return [(_text(each), 0.0) for each in reversed(self._db.lrange(place, first, -offset - 1))]
        read = self._db.zrevrange if state in _NEWEST_FIRST else self._db.zrange
        return [(_text(each), score) for each, score in read(place, offset, last, withscores=True)]

    # Workers -------------------------------------------------------------------------------------

    def workers(self) -> list[WorkerView]:
        """The workers that have given a sign of life in the last half hour and did not stop, by id."""
        ids = sorted(asynq.get_worker_ids(self._db))
        return [self._worker(worker_id) for worker_id in ids]

    def worker(self, worker_id: str) -> WorkerView:
        """One worker. Raises :class:`NotThere`."""
        found = self._worker(worker_id)
        if found.last_beat_s is None and worker_id not in asynq.get_worker_ids(self._db):
            raise NotThere(f"worker {worker_id}: there is no such worker (any more)")
        return found

    def _worker(self, worker_id: str) -> WorkerView:
        return beats.worker(worker_id, asynq.get_worker(self._db, worker_id), time.time())

    def output(self, *, task_id: str | None = None, worker_id: str | None = None) -> list[OutputLine]:
        """Lines that task code printed, oldest first: of all workers or one, of all tasks or one.

        Redis keeps the newest 500 to 1,000 of each worker that lives.
        """
        ids = [worker_id] if worker_id else asynq.get_worker_ids(self._db)
        lines = [line for each in ids for line in self._output_of(each)]
        return sorted(
            (line for line in lines if task_id in (None, line.task_id)), key=lambda line: line.at_ms
        )

    def _output_of(self, worker_id: str) -> Iterator[OutputLine]:
        for entry in self._db.lrange(f"{asynq.worker_key(worker_id)}:logs", 0, -1):
            line = parsed_object(entry)
            if _milliseconds(line.get("ts")) is not None and isinstance(line.get("text"), str):
                yield OutputLine(
                    at_ms=line["ts"],
                    worker_id=worker_id,
                    source=str(line.get("src", "")),
                    text=line["text"],
                    task_id=str(line.get("task_id") or ""),
                )


def _task(
    queue: str,
    task_id: str,
    fields: Mapping[str, bytes],
    scores: Mapping[str, Any],
    left_out: Mapping[str, int],
) -> TaskView:
    state = _text(fields.get("state", b""))
    broken, message = "", {}
    try:
        message = wire.decode(fields.get("msg", b"")) if "msg" in fields else _legacy(fields)
    except wire.WireError as exc:
        broken = f"its message cannot be read: {exc}"
    score = scores.get(state)
    at_s = moment(score) or None
    failures = _failures(fields.get("failures", b""))
    error = _text(fields.get("error_msg", b"")) or message.get("error_msg", "")
    failed_at_s = moment(_number(fields.get("last_failed_at")) or message.get("last_failed_at"))
    if not failures and error and failed_at_s:
        failures = [Attempt(None, failed_at_s, error)]
    return TaskView(
        id=task_id,
        queue=queue,
        state=state,
        type=message.get("type", ""),
        payload=message.get("payload", b""),
        result=fields.get("result"),
        error=error,
        retried=_count(fields.get("retried")) or message.get("retried", 0),
        max_retry=message.get("retry", 0),
        attempt=_count(fields.get("attempt")),
        crashes=_count(fields.get("crashes")),
        worker_id=_text(fields.get("owner", b"")),
        timeout_s=message.get("timeout"),
        deadline_s=message.get("deadline"),
        pending_since_s=_since(fields.get("pending_since")) if state == "pending" else None,
        due_s=at_s if state in _DUE else None,
        lease_until_s=at_s if state == "active" else None,
        purge_at_s=at_s if state in _NEWEST_FIRST else None,
        completed_at_s=moment(_number(fields.get("completed_at"))),
        failed_at_s=failed_at_s,
        progress=_progress(fields.get("progress", b"")),
        failures=failures,
        broken=broken,
        left_out={_SHOWN_AS.get(name, name): size for name, size in left_out.items()},
    )


def _legacy(fields: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "type": _text(fields.get("type", b"")),
        "payload": fields.get("payload", b""),
        "retry": _count(fields.get("max_retry")),
        "timeout": _count(fields.get("timeout")) or None,
        "deadline": _count(fields.get("deadline")) or None,
    }


def _progress(text: bytes) -> Progress | None:
    found = parsed_object(text)
    at_ms, attempt = _milliseconds(found.get("at_ms")), found.get("attempt")
    if "progress" not in found or at_ms is None or not isinstance(attempt, int):
        return None
    return Progress(found["progress"], at_ms / 1000, attempt)


def _failures(text: bytes) -> Sequence[Attempt]:
    return [
        Attempt(
            number=each.get("attempt") if isinstance(each.get("attempt"), int) else None,
            at_s=moment(each.get("at")),
            error=str(each.get("error", "")),
            worker_id=str(each.get("worker", "")),
        )
        for each in map(parsed_object, text.splitlines())
        if each
    ]


def _fields(names: Sequence[str], reply: Any) -> dict[str, bytes]:
    """The fields that are there; none where something else than a hash stands there."""
    if not isinstance(reply, list):
        return {}
    return {name: value for name, value in zip(names, reply, strict=True) if value is not None}


def _since(value: Any) -> float | None:
    number = _number(value)
    seconds: float | None = moment(number / 1e9 if number and number > _NANOSECONDS_ABOVE else number)
    return seconds


def _milliseconds(value: Any) -> int | None:
    """A number that is unix milliseconds; None for any other value."""
    return value if isinstance(value, int) and moment(value // 1000) is not None else None


def _number(value: Any) -> int | None:
    text = _text(value) if isinstance(value, bytes) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _count(value: Any) -> int:
    """A number that Redis counts or we count; 0 where another type stands there."""
    return value if isinstance(value, int) else _number(value) or 0


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
