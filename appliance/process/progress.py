"""What task code says of how far it is: a line of output that holds nothing else. Pure.

``{"task_id": "…", "progress": any JSON}``, on stderr: there every worker takes it for output. On stdout the
Go worker takes it for the task's answer, since an answer may leave out its result. Without an id, or with
null, it is about the one task that runs: the public SDK does not tell tasks their ids.
"""

import json
from typing import Any

from appliance.values import value_class

#: Most bytes of a progress, as JSON.
MAX_BYTES = 2_048
_MARK = '"progress"'
_MEMBERS = frozenset({"task_id", "progress"})


@value_class(slots=True)
class Report:
    """One such line. ``value`` is JSON; empty where it cannot be kept, ``refused`` says why."""

    task_id: str | None
    value: str
    refused: str = ""


def read(line: str) -> Report | None:
    """The report that a line of output is; None for any other line."""
    # Nearly every line ends here.
    if _MARK not in line:
        return None
    found = _object(line.strip())
    if "progress" not in found or not found.keys() <= _MEMBERS:
        return None
    task_id = found.get("task_id")
    if not isinstance(task_id, str | None):
        return None
    try:
        value = json.dumps(found["progress"], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return Report(task_id, "", "it holds NaN or Infinity, which JSON does not have")
    # Half a surrogate pair is a legal escape, but no text.
    kept = value.encode(errors="replace")
    if len(kept) > MAX_BYTES:
        return Report(task_id, "", f"it has {len(kept)} bytes, at most {MAX_BYTES} are kept")
    return Report(task_id, kept.decode())


def _object(text: str) -> dict[str, Any]:
    if not (text.startswith("{") and text.endswith("}")):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
