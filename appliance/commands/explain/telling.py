"""What was found of a task, for people and for programs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from appliance.commands.explain.facts import TaskFacts, WorkerFacts
from appliance.commands.explain.reading import Found
from appliance.commands.explain.reason import span, why
from appliance.plain import plain, plain_lines

#: Workers that are named one by one.
_MOST_WORKERS = 10
_LABEL_WIDTH = 13


def tell(task_id: str, found: Found) -> str:
    """The facts as text."""
    if found.unreadable:
        found, unreadable = replace(found, unreadable=()), found.unreadable
        return plain_lines([*(f"cannot be read: {line}" for line in unreadable), ""]) + tell(task_id, found)
    if not found.tasks:
        looked = ", ".join(found.searched) or "nowhere: there are no queues"
        return plain(f"task {task_id} is unknown; looked in: {looked}")
    return "\n\n".join(plain_lines(_lines(facts)) for facts in found.tasks)


def as_data(task_id: str, found: Found) -> dict[str, Any]:
    """The facts for JSON: ``{"task_id", "found": [facts + "why"], "looked_in", "unreadable": [text]}``.

    Times are unix seconds.
    """
    tasks = [{**_data(asdict(facts)), "why": why(facts)} for facts in found.tasks]
    return {
        "task_id": task_id,
        "found": tasks,
        "looked_in": list(found.searched),
        "unreadable": list(found.unreadable),
    }


def _lines(facts: TaskFacts) -> Iterator[str]:
    yield f"task {facts.task_id} in {facts.queue}: {facts.place or 'lost'}"
    yield from _labelled("why", [why(facts)])
    if facts.place != facts.state:
        yield from _labelled("mismatch", [f"its hash says {facts.state or 'nothing'}"])
    if facts.type:
        yield from _labelled("type", [facts.type])
    yield from _labelled("times", _times(facts))
    yield from _labelled("retries", [f"{facts.retried} of {facts.max_retry} spent"])
    if facts.crashes:
        times = "once" if facts.crashes == 1 else f"{facts.crashes} times"
        yield from _labelled(
            "crashes", [f"its run ended in a crash of the task process {times}: it runs alone"]
        )
    if facts.attempt:
        yield from _labelled("attempt", [facts.attempt + (f", by {facts.owner}" if facts.owner else "")])
    if facts.broken:
        yield from _labelled("broken", [facts.broken])
    yield from _labelled("last error", _telling_lines(facts.error))
    yield from _labelled("limits", _limits(facts))
    if facts.unique_key:
        yield from _labelled("unique", [_unique(facts)])
    yield from _labelled("sizes", _sizes(facts))
    yield from _labelled("workers", _workers(facts))


def _telling_lines(error: str) -> list[str]:
    lines = error.strip().splitlines()
    # Stacks of a task that ran over its limit begin with the innermost call; a traceback ends with it.
    return lines[:4] if "most recent call first" in error else lines[-3:]


def _labelled(label: str, values: list[str]) -> Iterator[str]:
    for position, value in enumerate(values):
        yield f"  {'' if position else label:<{_LABEL_WIDTH}}{value}"


def _times(facts: TaskFacts) -> list[str]:
    now_s = facts.now_wall_s
    named = {
        "waiting since": facts.pending_since_wall_s,
        "due": facts.due_wall_s,
        "lease until": facts.lease_until_wall_s,
        "failed": facts.failed_wall_s,
        "completed": facts.completed_wall_s,
        "kept until": facts.purge_wall_s,
    }
    return [f"{name} {_clock(at_s)} ({_away(at_s - now_s)})" for name, at_s in named.items() if at_s]


def _limits(facts: TaskFacts) -> list[str]:
    found = []
    if facts.run_limit_s:
        found.append(f"a run may take {span(facts.run_limit_s)}")
    if facts.deadline_wall_s:
        found.append(f"deadline {_clock(facts.deadline_wall_s)}")
    if facts.pending_timeout_s:
        found.append(f"may wait {span(facts.pending_timeout_s)}")
    return found


def _unique(facts: TaskFacts) -> str:
    if not facts.unique_holder:
        return f"{facts.unique_key}: not locked"
    whose = "by this task" if facts.unique_holder == facts.task_id else f"by task {facts.unique_holder}"
    left = f", for {span(facts.unique_for_s)}" if facts.unique_for_s else ""
    return f"{facts.unique_key}: locked {whose}{left}"


def _sizes(facts: TaskFacts) -> list[str]:
    result = "" if facts.result_bytes is None else f", result {facts.result_bytes} bytes"
    return [f"payload {facts.payload_bytes} bytes{result}"]


def _workers(facts: TaskFacts) -> list[str]:
    if not facts.workers:
        return ["none has said that it serves the queue"]
    # The one that has the task first, then the living.
    ranked = sorted(facts.workers, key=lambda one: (one.worker_id != facts.owner, not one.alive))
    lines = [_worker(one, facts) for one in ranked[:_MOST_WORKERS]]
    left_out = len(ranked) - len(lines)
    return [*lines, *([f"and {left_out} more"] if left_out else [])]


def _worker(one: WorkerFacts, facts: TaskFacts) -> str:
    words = [
        one.status or "unknown",
        *(["quiet"] if one.quiet else []),
        "healthy" if one.healthy else "not healthy",
    ]
    if one.recovery not in ("", "idle"):
        words.append(one.recovery)
    if not one.alive:
        words = ["gone" if not one.status else "stopped" if one.status == "stopped" else "dead"]
    if one.beat_age_s is not None:
        words.append(f"heard of {span(one.beat_age_s)} ago")
    if one.broken:
        words.append(f"its heartbeat cannot be read ({one.broken})")
    if one.worker_id == facts.owner:
        words.append("has it" if facts.place == "active" else "had it last")
    return f"{one.worker_id}: {', '.join(words)}"


def _away(seconds: float) -> str:
    return f"in {span(seconds)}" if seconds > 0 else f"{span(seconds)} ago"


def _clock(at_wall_s: float) -> str:
    try:
        return datetime.fromtimestamp(at_wall_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return "for ever"


def _data(facts: Mapping[str, Any]) -> dict[str, Any]:
    workers = [{**one, "queues": sorted(one["queues"])} for one in facts["workers"]]
    return {**facts, "places": list(facts["places"]), "workers": workers}
