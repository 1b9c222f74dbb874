"""Workers as the server and its autoscaler read them out of Redis: every hash below ``asynq:workers:``."""

from collections.abc import Iterator, Mapping
from typing import Any

import redis

from harness.queue import asynq
from harness.queue.beats import integer, queues, stale


def beats(db: redis.Redis) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Worker ids and their hashes. The set ``asynq:workers`` plays no part."""
    client: Any = db
    for key in client.scan_iter(match=asynq.worker_key("*"), _type="HASH"):
        worker_id = key.decode(errors="replace").removeprefix(asynq.worker_key(""))
        beat = asynq.get_worker(db, worker_id)
        if beat:
            yield worker_id, beat


def shown(worker_id: str, beat: Mapping[str, str], now_wall_s: float, *, instances: bool) -> dict[str, Any]:
    """A worker as ``GET /workers`` shows it; ``instances``: with what the newer server adds."""
    last_beat = integer(beat.get("last_beat", ""))
    worker: dict[str, Any] = {
        "worker_id": worker_id,
        "started_at": integer(beat.get("started_at", "")) or 0,
        "last_beat": last_beat or 0,
        "concurrency": integer(beat.get("concurrency", "")) or 0,
        "queues": beat.get("queues", ""),
        "status": beat.get("status", ""),
        "is_stale": last_beat is not None and stale(last_beat, now_wall_s),
    }
    if instances:
        worker |= {"instance_id": beat["instance_id"]} if beat.get("instance_id") else {}
        worker["protected"] = beat.get("protected", "").lower() == "true"
    return worker


def counted(db: redis.Redis, parent: str, now_wall_s: float) -> int:
    """How many workers of ``parent`` the autoscaler believes in: their status says nothing to it."""
    return sum(
        not stale(integer(beat.get("last_beat", "")) or 0, now_wall_s)
        and any(name.partition(".")[0] == parent for name in queues(beat.get("queues", "")))
        for _, beat in beats(db)
    )
