"""Rules about what a worker writes of itself: the server's list, its dashboard and its autoscaler read it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from harness.queue.strict.view import Found, View, whole

STATUSES = ("bootstrapping", "running", "stopped")
#: Seconds that the hash of a worker that stopped in order may still be there: one more look at a dashboard.
MOMENT_S = 5.0
#: The list is trimmed in steps: at this length back to half of it.
MOST_LINES = 1_000
_QUEUES = re.compile(r"map\[[^\s:\]]+:\d+(?: [^\s:\]]+:\d+)*\]|map\[\]|[^\s,\[\]]+(?:\s*,\s*[^\s,\[\]]+)*")
_SOURCES = ("stdout", "stderr")


def known_statuses(view: View) -> Iterator[Found]:
    """A status is one the server knows."""
    for key, fields in _workers(view):
        if fields.get("status") not in STATUSES:
            yield Found(key, f"its status is {fields.get('status')!r}", "it is shown as stopped")


def readable_fields(view: View) -> Iterator[Found]:
    """Numbers, the id and the queues are as the server parses them."""
    for key, fields in _workers(view):
        for name in ("started_at", "last_beat", "concurrency"):
            if whole(fields.get(name, "")) is None:
                yield Found(key, f"{name} is {fields.get(name)!r}", "it counts as 0: stale, or without slots")
        if key != f"asynq:workers:{fields.get('worker_id')}":
            yield Found(
                key, f"worker_id is {fields.get('worker_id')!r}", "it is two workers, depending on who looks"
            )
        if not _QUEUES.fullmatch(fields.get("queues", "")):
            yield Found(
                key, f"queues is {fields.get('queues')!r}", "to the autoscaler it serves none of them"
            )
        for name in ("healthy", "protected"):
            if fields.get(name, "0").lower() not in {"0", "1", "true", "false"}:
                yield Found(key, f"{name} is {fields.get(name)!r}", "it counts as false")


def readable_json(view: View) -> Iterator[Found]:
    """``metrics`` and ``recovery`` are objects of the right shape: Go drops one whole for one wrong field."""
    for key, fields in _workers(view):
        for name, is_right in (("metrics", _is_metrics), ("recovery", _is_recovery)):
            if fields.get(name) and not is_right(_json(fields[name])):
                yield Found(
                    key, f"{name} is {fields[name][:200]}", "json.Unmarshal fails: none of it is shown"
                )


def stopped_are_gone(view: View) -> Iterator[Found]:
    """A worker that stopped in order is not in the list, and its hash goes in a moment."""
    remembered = {worker_id for _, _, entry in view.each("workers") for worker_id in entry.scores}
    for key, parts, entry in view.each("worker"):
        if entry.fields.get("status") != b"stopped":
            continue
        if parts["id"] in remembered:
            yield Found(
                "asynq:workers", f"{parts['id']} is in it, and has stopped", "it is listed for half an hour"
            )
        elif (entry.ttl_s or 0) > MOMENT_S:
            yield Found(
                key,
                f"it has stopped, and is there for {entry.ttl_s:g} s",
                "the autoscaler counts it as a worker",
            )


def bounded_logs(view: View) -> Iterator[Found]:
    """The list of lines is trimmed."""
    for key, _, entry in view.each("logs"):
        if len(entry.items) > MOST_LINES:
            yield Found(key, f"it has {len(entry.items)} lines", "it grows for ever")


def readable_lines(view: View) -> Iterator[Found]:
    """A line of the list is an object with time, source, text and number."""
    for key, _, entry in view.each("logs"):
        wrong = next((item for item in entry.items if not _is_line(_json(item))), None)
        if wrong is not None:
            yield Found(key, f"a line is {wrong[:100]}", "the dashboard cannot show it")


def _workers(view: View) -> Iterator[tuple[str, Mapping[str, str]]]:
    for key, _, entry in view.each("worker"):
        yield key, {name: value.decode(errors="backslashreplace") for name, value in entry.fields.items()}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_metrics(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    whole_ones = ("memory_used_bytes", "memory_total_bytes", "collected_at")
    gpus = value.get("gpus") or []
    return (
        _is_number(value.get("cpu_percent"))
        and all(_is_whole(value.get(name, 0)) for name in whole_ones)
        and isinstance(gpus, list)
        and all(map(_is_gpu, gpus))
    )


def _is_gpu(value: Any) -> bool:
    whole_ones = ("index", "memory_used_mb", "memory_total_mb", "temperature_c")
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and _is_number(value.get("utilization_percent"))
        and all(_is_whole(value.get(name)) for name in whole_ones)
    )


def _is_recovery(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, dict)
        and each.get("state") in {"idle", "recovering", "degraded"}
        and all(_is_whole(each.get(name, 0)) for name in ("consecutive_fails", "total_restarts"))
        for each in value.values()
    )


def _is_line(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(_is_whole(value.get(name)) for name in ("ts", "seq"))
        and value.get("src") in _SOURCES
        and isinstance(value.get("text"), str)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
