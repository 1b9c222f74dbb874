"""What is known of a crash, as a record for those who look into it afterwards."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: How many dossiers Redis keeps for a worker, and for how long in seconds.
KEPT_DOSSIERS = 50
DOSSIER_TTL_S = 7 * 24 * 3600
#: Longest line kept, in characters, and how many lines.
_LINE_CHARS = 1_000
_LINES = 50


def dossier(
    *,
    queue: str,
    commit: str,
    when_wall_s: float,
    exit_text: str,
    uptime_s: float,
    was_ready: bool,
    task_ids: Sequence[str],
    stderr: Sequence[str],
    memory_peak_bytes: int | None,
    redact: Callable[[str], str],
) -> str:
    """One crash as a bounded JSON object, free of secrets."""
    record = {
        "at": when_wall_s,
        "queue": queue,
        "commit": commit,
        "exit": redact(exit_text),
        "uptime_s": round(uptime_s, 3),
        "was_ready": was_ready,
        "tasks": list(task_ids)[:_LINES],
        "memory_peak_bytes": memory_peak_bytes,
        "stderr": [redact(line)[:_LINE_CHARS] for line in list(stderr)[-_LINES:]],
    }
    return json.dumps(record)


def describe(record: Mapping[str, Any], when: str) -> str:
    """A dossier for people, several lines; ``when`` is its time as they read it."""
    ready = "after" if record["was_ready"] else "before it was ready, after"
    memory = record["memory_peak_bytes"]
    lines = [
        f"{when}  {record['queue']}  {record['exit']}, {ready} {record['uptime_s']} s",
        f"  commit {record['commit']}" + (f", memory peak {memory / 2**20:.0f} MiB" if memory else ""),
    ]
    if record["tasks"]:
        lines.append("  tasks in flight: " + ", ".join(record["tasks"]))
    lines += [f"  | {line}" for line in record["stderr"]]
    return "\n".join(lines)
