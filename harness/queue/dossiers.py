"""What workers wrote about crashes of their task processes; read leniently: clients can write there."""

from collections.abc import Iterable, Mapping
from typing import Any

import redis

from harness.queue.views import moment, parsed_object

#: Dossiers of a worker that are read: as many as a worker keeps.
MOST = 50


def newest(db: redis.Redis, worker_ids: Iterable[str]) -> list[Mapping[str, Any]]:
    """The workers' dossiers, newest first; what is no JSON object is left out. Raises redis.RedisError."""
    client: Any = db
    found = [
        record
        for worker_id in worker_ids
        for raw in client.lrange(f"asynq:crashes:{worker_id}", -MOST, -1)
        if (record := parsed_object(raw))
    ]
    return sorted(found, key=_time_of, reverse=True)


def names(dossier: Mapping[str, Any], task_id: str) -> bool:
    """Whether the task was at work in the process that crashed, or was ended over its limit."""
    named = [dossier.get(name) for name in ("tasks", "timed_out")]
    return any(isinstance(ids, list) and task_id in ids for ids in named)


def _time_of(record: Mapping[str, Any]) -> float:
    return moment(record.get("at")) or 0.0
