"""A worker's heartbeat, read as leniently as the server reads it. Pure."""

import re
from collections.abc import Mapping

from harness.queue.views import WorkerView, moment, parsed_object

#: Seconds without a beat after which a worker counts as stale.
STALE_AFTER_S = 30
_INTEGER = re.compile(r"[+-]?\d{1,18}")


def worker(worker_id: str, beat: Mapping[str, str], now_wall_s: float) -> WorkerView:
    """The worker whose hash is ``beat``, which is empty where it has none any more."""
    last_beat_s = moment(integer(beat.get("last_beat", "")))
    return WorkerView(
        id=worker_id,
        status=beat.get("status", ""),
        healthy=beat.get("healthy") in {"1", "true"},
        quiet=beat.get("quiet") == "1",
        stale=stale(last_beat_s or 0, now_wall_s),
        started_at_s=moment(integer(beat.get("started_at", ""))),
        last_beat_s=last_beat_s,
        concurrency=integer(beat.get("concurrency", "")),
        queues=queues(beat.get("queues", "")),
        recovery={
            parent: state
            for parent, state in parsed_object(beat.get("recovery", "")).items()
            if isinstance(state, Mapping)
        },
        metrics=parsed_object(beat.get("metrics", "")),
    )


def queues(text: str) -> dict[str, int]:
    """Queues and priorities from a Go map's print or a comma-separated list (priority 1)."""
    found = {}
    for word in re.split(r"[,\s]+", text.strip().removeprefix("map[").removesuffix("]")):
        name, colon, priority = word.rpartition(":")
        found[name if colon else word] = integer(priority) or 1 if colon else 1
    return {name: priority for name, priority in found.items() if name}


def stale(last_beat_wall_s: int, now_wall_s: float) -> bool:
    """Whether a worker has been silent for too long."""
    return int(now_wall_s) - last_beat_wall_s > STALE_AFTER_S


def integer(text: str) -> int | None:
    """The whole number a text is."""
    return int(text) if _INTEGER.fullmatch(text) else None
