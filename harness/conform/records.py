"""What exchanges need in Redis and leave there: seeding, reading, the order of writes, and tidying up."""

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis

from harness.conform.exchange import GivenTask, GivenWorker
from harness.queue import asynq, beats
from harness.server import workers
from harness.server.age import ASYNQ_TIMEOUT_S

_LISTS = frozenset({"pending", "active"})
#: Seconds for which a worker that was put there stays if it is not taken away.
_WORKER_S = 60


class Records:
    """One Redis, the server's. What was put there or noticed is taken away by :meth:`tidy`."""

    def __init__(self, db: redis.Redis, queue: str) -> None:
        self._db: Any = db
        self._queue = queue
        self._tasks: list[str] = []
        self._workers: list[str] = []

    def put(self, given: GivenTask | GivenWorker) -> str:
        """Put it there; returns its id."""
        if isinstance(given, GivenWorker):
            return self._put_worker(given)
        task = asynq.NewTask({"n": 1}, type=self._queue, message=given.message)
        self._tasks.append(task.id)
        asynq.write_lookup(self._db, self._queue, task.id)
        self._db.sadd(asynq.QUEUES, self._queue)
        if given.stored:
            fields = {"msg": task.encode(self._queue), "state": given.state, **given.fields}
            self._db.hset(asynq.task_key(self._queue, task.id), mapping=fields)
            score = int(time.time()) + given.due_in_s
            self._db.zadd(asynq.key(self._queue, given.state), {task.id: score})
        return task.id

    def task_record(self, task_id: str) -> dict[str, Any]:
        """A task as patterns see it: its place, message, hash without the message, and reverse lookup."""
        self._tasks.append(task_id)
        task = asynq.get_task(self._db, self._queue, task_id)
        message = dict(task.message) if task else {}
        return {
            "place": asynq.where_is(self._db, self._queue, task_id),
            "message": {**message, "payload": message.get("payload", b"").decode(errors="replace")},
            "hash": dict(task.fields) if task else {},
            "limits_agree": _limits_agree(message, task.fields) if task else False,
            "lookup": asynq.get_queue_of(self._db, task_id) or "",
            "lookup_ttl_s": self._db.ttl(asynq.lookup_key(task_id)),
        }

    def served_by(self) -> list[str]:
        """The workers that say they serve the queue."""
        return [
            worker_id
            for worker_id, beat in workers.beats(self._db)
            if self._queue in beats.queues(beat.get("queues", "")) and beat.get("status") != "stopped"
        ]

    @contextlib.contextmanager
    def watched(self, seen: list[Sequence[str]]) -> Iterator[None]:
        """Note the commands that Redis carries out meanwhile, as words."""
        end = f"conform-{uuid.uuid4()}"
        with self._db.monitor() as monitor:
            yield
            self._db.echo(end)
            for command in monitor.listen():
                words = command["command"].split(" ")
                if end in words:
                    return
                seen.append(words)

    def tidy(self) -> None:
        """Take away all that was put there or noticed."""
        for task_id in self._tasks:
            self.remove(task_id)
        for worker_id in self._workers:
            self._db.delete(asynq.worker_key(worker_id))
        self._tasks, self._workers = [], []

    def remove(self, task_id: str) -> None:
        """Take away a task of the queue, wherever it is."""
        self._db.delete(asynq.task_key(self._queue, task_id), asynq.lookup_key(task_id))
        for place in asynq.PLACES:
            key = asynq.key(self._queue, place)
            _ = self._db.lrem(key, 0, task_id) if place in _LISTS else self._db.zrem(key, task_id)

    def _put_worker(self, given: GivenWorker) -> str:
        worker_id = f"conform-{uuid.uuid4()}"
        self._workers.append(worker_id)
        beat = {**given.fields, "last_beat": int(time.time()) - given.beat_ago_s}
        self._db.hset(asynq.worker_key(worker_id), mapping={**beat, "worker_id": worker_id})
        self._db.expire(asynq.worker_key(worker_id), _WORKER_S)
        return worker_id


def _limits_agree(message: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
    """Whether the stamp of the time limit, where there is one, is what the message says; 0 there is none."""
    stamp = int(fields.get("active_timeout", message.get("timeout", 0)))
    return bool(message.get("timeout") == (stamp or ASYNQ_TIMEOUT_S))


def written(commands: Sequence[Sequence[str]], queue: str, task_ids: Sequence[str]) -> Mapping[str, Any]:
    """How the tasks were written: the steps of the first in their order, and how many were ahead of it."""
    steps = [step for words in commands if (step := _step(words, queue, task_ids)) is not None]
    first_lookup = next((at for at, (name, _) in enumerate(steps) if name == "lookup"), len(steps))
    return {
        "order": [name for name, task_id in steps if task_id == task_ids[0]],
        "tasks before the first lookup": sum(name == "pending" for name, _ in steps[:first_lookup]),
    }


def _step(words: Sequence[str], queue: str, task_ids: Sequence[str]) -> tuple[str, str] | None:
    """What a command does for one of the tasks, and for which; None where it does nothing for any."""
    task_id = next((each for each in task_ids if any(each in word for word in words)), None)
    if task_id is None or len(words) < 2:
        return None
    hashes = {
        asynq.task_key(queue, task_id): "task" if "msg" in words else "stamps",
        asynq.lookup_key(task_id): "lookup",
    }
    match words[0].upper(), words[1]:
        case "HSET" | "HMSET", key if key in hashes:
            return hashes[key], task_id
        case "LPUSH", key if key == asynq.key(queue, "pending"):
            return "pending", task_id
        case "EXPIRE", key if key == asynq.lookup_key(task_id):
            return "lookup lifetime", task_id
    return None
