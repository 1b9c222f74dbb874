"""A crash of a task process: what the log, the timeline and a dossier in Redis say of it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from appliance.observe.outbound import Outbound
from appliance.observe.timeline import Timeline
from appliance.plain import plain_lines
from appliance.process.spec import CrashReport
from appliance.shape import TEXT, TRUTH, Shape, misfit, number, or_none, whole

log = structlog.get_logger()

#: How many dossiers Redis keeps for a worker, and for how long in seconds.
KEPT_DOSSIERS = 50
DOSSIER_TTL_S = 7 * 24 * 3600
#: The last second that has a date.
_LAST_DATE = 253_402_300_799
#: What a dossier holds; a client of Redis can leave another thing.
_FIELDS: dict[str, Shape] = {
    "at": number(_LAST_DATE),
    "parent": TEXT,
    "commit": TEXT,
    "exit": TEXT,
    "uptime_s": number(),
    "was_ready": TRUTH,
    "tasks": [TEXT],
    "charged_to_task": TEXT,
    "timed_out": [TEXT],
    "stacks": [TEXT],
    "memory_peak_bytes": or_none(whole()),
    "stderr": [TEXT],
}
#: What those of older workers lack, and what that means.
_LATER: dict[str, Any] = {"charged_to_task": "", "timed_out": [], "stacks": []}
#: Longest line kept, in characters, and how many lines.
_LINE_CHARS = 1_000
_LINES = 50
#: Lines of stacks in a log line.
_TOLD = 12


def report_crash(
    parent: str, timeline: Timeline, dossiers: Outbound, redact: Callable[[str], str], crash: CrashReport
) -> None:
    """Log it, remember it, and send its dossier to Redis."""
    if crash.timed_out:
        # No crash, but as good to know: where a task hung that ran over its limit.
        log.warning(
            "process.stacks", parent=parent, tasks=list(crash.timed_out), stacks=list(crash.stacks[:_TOLD])
        )
        dossiers.add(dossier(parent, crash, redact))
        return
    log.error(
        "process.crashed",
        parent=parent,
        exit=crash.exit,
        uptime_s=round(crash.uptime_s, 3),
        tasks=list(crash.task_ids),
        stderr=list(crash.stderr_tail[-3:]),
        **({"charged_to_task": crash.charged_to} if crash.charged_to else {}),
    )
    timeline.add(parent, "crashed", crash.how)
    dossiers.add(dossier(parent, crash, redact))


def dossier(parent: str, crash: CrashReport, redact: Callable[[str], str]) -> str:
    """One crash as a bounded JSON object, free of secrets."""
    record = {
        "at": crash.when_wall_s,
        "parent": parent,
        "commit": crash.commit,
        "exit": redact(crash.exit),
        "uptime_s": round(crash.uptime_s, 3),
        "was_ready": crash.was_ready,
        "tasks": list(crash.task_ids)[:_LINES],
        "charged_to_task": crash.charged_to,
        "timed_out": list(crash.timed_out)[:_LINES],
        "stacks": [redact(line)[:_LINE_CHARS] for line in crash.stacks[:_LINES]],
        "memory_peak_bytes": crash.memory_peak_bytes,
        "stderr": [redact(line)[:_LINE_CHARS] for line in list(crash.stderr_tail)[-_LINES:]],
    }
    return json.dumps(record)


def read(text: bytes) -> dict[str, Any]:
    """The record that a dossier in Redis holds; raises ValueError that says why it is none."""
    try:
        record = json.loads(text)
    except RecursionError as exc:
        raise ValueError("it is nested too deep") from exc
    except ValueError as exc:
        raise ValueError(f"it is not JSON: {exc}") from exc
    if isinstance(record, dict):
        record = _LATER | record
    if problem := misfit(record, _FIELDS):
        raise ValueError(problem)
    return {name: record[name] for name in _FIELDS}


def describe(record: Mapping[str, Any], when: str) -> str:
    """A dossier for people, several lines; ``when`` is its time as they read it."""
    ready = "after" if record["was_ready"] else "before it was ready, after"
    memory = record["memory_peak_bytes"]
    lines = [
        f"{when}  {record['parent']}  {record['exit']}, {ready} {record['uptime_s']} s",
        f"  commit {record['commit']}" + (f", memory peak {memory / 2**20:.0f} MiB" if memory else ""),
    ]
    if record["tasks"]:
        lines.append("  tasks in flight: " + ", ".join(record["tasks"]))
    if record["timed_out"]:
        lines.append("  ended because they ran over their limit: " + ", ".join(record["timed_out"]))
    lines += [f"  # {line}" for line in record["stacks"]]
    if record["charged_to_task"]:
        lines.append(f"  charged to task {record['charged_to_task']}, which has crashed it before")
    lines += [f"  | {line}" for line in record["stderr"]]
    return plain_lines(lines)
