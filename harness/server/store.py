"""Tasks and workers in Redis, as the server writes and reads them."""

import contextlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness import asynq
from harness.server import heartbeats
from harness.server.bodies import Job

MAX_RETRY = 3
RETENTION_S = 86_400
#: What the server stamps on a task's hash, in seconds.
STAMPS = {"ttl_completed": 86_400, "ttl_archived": 259_200}
#: Seconds without a beat after which a worker counts as stale.
STALE_AFTER_S = 30
#: What Redis says of the lifetime of a key that is not there.
_GONE = -2
_TERMINAL = frozenset({"completed", "archived"})
#: Tasks that ended, completed and archived ones each, that are told of a queue.
LAST_ENDED = 100
_BY_TIME = ("scheduled", "retry", "completed", "archived")
_GO_MAP = re.compile(r"^map\[(.*)\]$")


class Store:
    """The server's view of one Redis; while that is down, every call raises redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._db = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=2)

    def close(self) -> None:
        """Give the connections back."""
        self._db.close()

    def ping(self) -> None:
        """Raises redis.RedisError where Redis does not answer."""
        self._db.ping()

    def enqueue(self, queue: str, jobs: Sequence[Job]) -> list[str]:
        """Write the tasks and return their ids, in order."""
        tasks = [
            asynq.NewTask(
                payload=json.dumps(job.payload, separators=(",", ":"), ensure_ascii=False).encode(),
                type=job.type or queue,
                retry=MAX_RETRY,
                timeout_s=job.timeout_s,
                message={"retention": RETENTION_S},
                stamps=STAMPS,
            )
            for job in jobs
        ]
        # Lookups first: the worker gives a lookup its lifetime when it ends the task, which may be at once.
        asynq.write_lookup(self._db, queue, *(task.id for task in tasks))
        return asynq.seed_pending(self._db, queue, *tasks)

    def info(self, task_id: str) -> dict[str, Any] | None:
        """A task as ``GET /queue/{id}`` shows it; None where there is none."""
        queue = asynq.get_queue_of(self._db, task_id)
        task = asynq.get_task(self._db, queue, task_id) if queue is not None else None
        if queue is None or task is None:
            return None
        message = task.message or {
            "type": task.fields.get("type", ""),
            "payload": task.fields.get("payload", "").encode(),
            "retry": int(task.fields.get("max_retry", 0)),
        }
        return {
            "id": task_id,
            "queue": queue,
            "type": message.get("type", ""),
            "payload": message.get("payload", b"").decode(errors="replace"),
            "state": task.state,
            "max_retry": message.get("retry", 0),
            "retried": int(task.fields.get("retried", message.get("retried", 0))),
            "timeout": message.get("timeout", 0),
            "LastErr": task.fields.get("error_msg", message.get("error_msg", "")),
            "Result": task.fields.get("result", ""),
            "completed_at": task.fields.get("completed_at", ""),
        }

    def info_when_done(self, task_id: str, timeout_s: float, stopping: Any) -> dict[str, Any] | None:
        """As :meth:`info`, once the task is completed or archived or time is up.

        ``stopping`` is a threading.Event that ends the wait.
        """
        deadline = time.monotonic() + timeout_s
        pause_s = 0.005
        while True:
            info = self.info(task_id)
            left_s = deadline - time.monotonic()
            if info is None or info["state"] in _TERMINAL or left_s <= 0:
                return info
            if stopping.wait(min(pause_s, left_s)):
                return info
            pause_s = min(pause_s * 1.5, 0.1)

    def workers(self) -> Iterator[dict[str, Any]]:
        """Those with a heartbeat that has not expired."""
        for worker_id in asynq.get_worker_ids(self._db):
            found = self.worker(worker_id)
            if found is not None:
                yield found

    def worker(self, worker_id: str) -> dict[str, Any] | None:
        """One worker as ``GET /workers/{id}`` shows it; None where it has no heartbeat."""
        beat = asynq.get_worker(self._db, worker_id)
        return _readable(beat) if beat else None

    def depths(self) -> dict[str, dict[str, int]]:
        """How many tasks are where, and the counters, by queue."""
        found = {}
        for queue in asynq.get_queues(self._db):
            pipe = self._db.pipeline(transaction=False)
            for name in ("pending", "active"):
                pipe.llen(asynq.key(queue, name))
            for name in _BY_TIME:
                pipe.zcard(asynq.key(queue, name))
            names = ("pending", "active", *_BY_TIME)
            found[queue] = dict(zip(names, pipe.execute(), strict=True)) | asynq.get_counters(self._db, queue)
        return found

    def ended(self, queues: Iterable[str]) -> list[str]:
        """The tasks of ``queues`` that ended last, :data:`LAST_ENDED` at most of each kind."""
        keys = [asynq.key(queue, name) for queue in queues for name in ("completed", "archived")]
        newest: list[Any] = [self._db.zrange(key, -LAST_ENDED, -1) for key in keys]
        return [task_id.decode() for ids in newest for task_id in ids]

    def heartbeat_problems(self) -> list[str]:
        """What is wrong with the heartbeats there are now."""
        found = []
        for worker_id in asynq.get_worker_ids(self._db):
            beat = asynq.get_worker(self._db, worker_id)
            if beat:
                ttl_s = int(self._db.ttl(asynq.worker_key(worker_id)))
                # Gone between the two looks is no problem.
                found += heartbeats.problems(worker_id, beat, ttl_s) if ttl_s != _GONE else []
        return found


def _readable(beat: Mapping[str, str]) -> dict[str, Any]:
    worker: dict[str, Any] = dict(beat)
    worker["queues"] = read_queues(beat.get("queues", ""))
    worker["healthy"] = beat.get("healthy") in {"1", "true"}
    for name in ("started_at", "last_beat", "concurrency"):
        worker[name] = int(float(beat.get(name) or 0))
    for name in ("metrics", "recovery"):
        # What is no JSON stays text: the reader shall see it, not an error of ours.
        with contextlib.suppress(ValueError):
            worker[name] = json.loads(beat.get(name) or "{}")
    worker["stale"] = time.time() - worker["last_beat"] > STALE_AFTER_S
    return worker


def read_queues(text: str) -> dict[str, int]:
    """Queues and priorities from a Go map's print or a comma-separated list (priority 1)."""
    match = _GO_MAP.match(text.strip())
    if match is None:
        return {name.strip(): 1 for name in text.split(",") if name.strip()}
    pairs = (entry.rpartition(":") for entry in match[1].split())
    return {name: int(priority) for name, _, priority in pairs}
