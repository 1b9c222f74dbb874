"""What ``runqy-harness watch`` and a test want to know at a glance; the real server has none of it."""

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import redis

from harness.queue import asynq
from harness.queue.inspector import Inspector
from harness.server import heartbeats, workers

#: The tasks that ended last, completed and archived ones each, that are shown of a queue.
LAST_ENDED = 100
#: Running tasks of a queue, at most, that are looked at for their progress.
RUNNING = 20
_LISTS = ("pending", "active")
_BY_TIME = ("scheduled", "retry", "completed", "archived")
#: What Redis says of the lifetime of a key that is not there.
_GONE = -2


class Overview:
    """Raises redis.RedisError where Redis does not answer."""

    def __init__(self, db: redis.Redis) -> None:
        self._db: Any = db

    def everything(self, parents: Iterable[str]) -> dict[str, Any]:
        """Workers, depths of queues, the autoscaler's counts, progress, and the tasks that ended last."""
        now_wall_s = time.time()
        depths = self._depths()
        return {
            "workers": [_worker(*each, now_wall_s) for each in workers.beats(self._db)],
            "queues": depths,
            "autoscaler": {parent: workers.counted(self._db, parent, now_wall_s) for parent in parents},
            "progress": self._progress(depths),
            "ended": self._ended(depths),
        }

    def heartbeat_problems(self) -> list[str]:
        """What is wrong with the heartbeats there are now."""
        found = []
        for worker_id, beat in workers.beats(self._db):
            ttl_s = int(self._db.ttl(asynq.worker_key(worker_id)))
            # Gone between the two looks is no problem.
            found += heartbeats.problems(worker_id, beat, ttl_s) if ttl_s != _GONE else []
        return found

    def _depths(self) -> dict[str, dict[str, int]]:
        """How many tasks are where, and the counters, by queue."""
        found = {}
        for queue in asynq.get_queues(self._db):
            pipe = self._db.pipeline(transaction=False)
            for name in _LISTS:
                pipe.llen(asynq.key(queue, name))
            for name in _BY_TIME:
                pipe.zcard(asynq.key(queue, name))
            depths = dict(zip((*_LISTS, *_BY_TIME), pipe.execute(), strict=True))
            found[queue] = depths | asynq.get_counters(self._db, queue)
        return found

    def _progress(self, queues: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
        """The running tasks that have said how far they are."""
        inspector = Inspector(self._db)
        return [
            {"id": task.id, "queue": queue, "progress": task.progress.value}
            for queue, depths in queues.items()
            if depths["active"]
            for task in inspector.tasks(queue, "active", limit=RUNNING)
            if task.progress
        ]

    def _ended(self, queues: Iterable[str]) -> list[str]:
        keys = [asynq.key(queue, name) for queue in queues for name in ("completed", "archived")]
        newest: list[Any] = [self._db.zrange(key, -LAST_ENDED, -1) for key in keys]
        return [task_id.decode() for ids in newest for task_id in ids]


def _worker(worker_id: str, beat: Mapping[str, str], now_wall_s: float) -> dict[str, Any]:
    """What the server shows, and what only people read: health, quiet and recovery."""
    shown = workers.shown(worker_id, beat, now_wall_s, instances=True)
    shown["healthy"] = beat.get("healthy") in {"1", "true"}
    shown["quiet"] = beat.get("quiet") == "1"
    for name in ("metrics", "recovery"):
        shown[name] = beat.get(name, "")
        # What is no JSON stays text: the reader shall see it, not an error of the harness.
        with contextlib.suppress(ValueError):
            shown[name] = json.loads(beat.get(name) or "{}")
    return shown
