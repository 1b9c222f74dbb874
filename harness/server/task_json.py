"""A task as the server's JSON shows it, in the three forms there are. Pure.

Everything but the state, the result and the due time comes out of the message; what the hash says of
errors and retries is not looked at.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.server import base64_text
from harness.server.inspector import DUE, Inspected

#: Go's zero time.
NEVER = "0001-01-01T00:00:00Z"


def added(message: Mapping[str, Any], now_wall_s: float) -> dict[str, Any]:
    """What ``POST /queue/add`` says of the new task; the payload is in base64."""
    payload = base64.b64encode(message.get("payload", b"")).decode()
    next_at = _nanoseconds(now_wall_s)
    return {**_common(message, "pending", next_at), "payload": payload, "Result": None}


def got(task: Inspected, now_wall_s: float) -> dict[str, Any]:
    """What ``GET /queue/{id}`` says; payload and result are text."""
    next_at = {"pending": _at(int(now_wall_s))}.get(task.state, _at(task.due_wall_s))
    return {
        **_common(task.message, task.state, next_at),
        "payload": base64_text.shown(task.message.get("payload", b"")),
        "Result": base64_text.shown(task.result),
    }


def listed(task: Inspected) -> dict[str, Any]:
    """What a list of tasks says; bytes are text as they are."""
    message = task.message
    shown: dict[str, Any] = {
        "id": message.get("id", ""),
        "type": message.get("type", ""),
        "queue": message.get("queue", ""),
        "state": task.state,
        "payload": base64_text.text(message.get("payload", b"")),
        "max_retry": message.get("retry", 0),
        "retried": message.get("retried", 0),
        "timeout": "",
    }
    if task.state in {"retry", "archived"} and message.get("error_msg"):
        shown["last_err"] = message["error_msg"]
    if task.state in DUE:
        shown["next_process_at"] = _date(task.due_wall_s)
    if task.state == "completed":
        shown["completed_at"] = _date(message.get("completed_at", 0))
        if task.result:
            shown["result"] = base64_text.text(task.result)
    return shown


def _common(message: Mapping[str, Any], state: str, next_at: str) -> dict[str, Any]:
    return {
        "id": message.get("id", ""),
        "type": message.get("type", ""),
        "state": state,
        "queue": message.get("queue", ""),
        "max_retry": message.get("retry", 0),
        "retried": message.get("retried", 0),
        "LastErr": message.get("error_msg", ""),
        "LastFailedAt": _at(message.get("last_failed_at", 0)),
        "Deadline": _at(message.get("deadline", 0)),
        "Group": message.get("group_key", ""),
        "NextProcessAt": next_at,
        "IsOrphaned": False,
        "CompletedAt": _at(message.get("completed_at", 0)),
    }


def _at(wall_s: int) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if wall_s else NEVER


def _nanoseconds(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat().replace("+00:00", "Z")


def _date(wall_s: int) -> str:
    when = datetime.fromtimestamp(wall_s, UTC) if wall_s else datetime(1, 1, 1, tzinfo=UTC)
    return when.strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0")
