"""What a worker's heartbeat in Redis must look like; a wrong one is told, field by field. Pure.

Source: section 6 of the wire protocol (docs/protocol.md).
"""

import json
import re
from collections.abc import Mapping
from typing import Any

#: Seconds the hash may live without a beat.
HASH_TTL_S = 30
STATUSES = ("bootstrapping", "running", "stopped")
RECOVERY_STATES = ("idle", "recovering", "degraded")
_QUEUES = re.compile(r"map\[(?:[^\s:\]]+:\d+(?: [^\s:\]]+:\d+)*)?\]|[^\s,\[\]]+(?:\s*,\s*[^\s,\[\]]+)*")
_WHOLE = re.compile(r"\d+")
_METRICS = ("cpu_percent", "memory_used_bytes", "memory_total_bytes")


def problems(worker_id: str, beat: Mapping[str, str], ttl_s: float) -> list[str]:
    """What is wrong with the hash ``asynq:workers:{worker_id}``; ``ttl_s`` negative: it does not expire."""
    found = []

    def check(field: str, fits: bool, expected: str) -> None:
        if not fits:
            found.append(f"heartbeat of {worker_id}: {field} is {beat.get(field)!r}, expected {expected}")

    check("worker_id", beat.get("worker_id") == worker_id, "the id of its key")
    for field in ("started_at", "last_beat", "concurrency"):
        check(field, _WHOLE.fullmatch(beat.get(field, "")) is not None, "a whole number")
    check("queues", _QUEUES.fullmatch(beat.get("queues", "")) is not None, "map[name:priority …] or a,b")
    check("status", beat.get("status") in STATUSES, f"one of {', '.join(STATUSES)}")
    check("healthy", beat.get("healthy") in {"0", "1", "true", "false"}, "1 or 0")
    metrics, recovery = _object(beat.get("metrics")), _object(beat.get("recovery"))
    numbers = metrics is not None and all(_is_number(metrics.get(name)) for name in _METRICS)
    check("metrics", numbers, f"a JSON object with the numbers {', '.join(_METRICS)}")
    states = recovery is not None and all(_is_recovery(state) for state in recovery.values())
    check("recovery", states, "a JSON object of states by parent queue")
    if not 0 <= ttl_s <= HASH_TTL_S:
        found.append(f"heartbeat of {worker_id}: it expires in {ttl_s:g} s, expected {HASH_TTL_S} at most")
    return found


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_recovery(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("state") in RECOVERY_STATES
        and all(isinstance(value.get(name), int) for name in ("consecutive_fails", "total_restarts"))
    )
