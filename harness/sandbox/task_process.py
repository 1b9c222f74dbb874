"""The task process of this project's worker, by what the worker's log says."""

from collections.abc import Mapping, Sequence
from typing import Any

#: Events that say whether the process they name works, or is ready to.
_WORKS = {"process.ready": True, "process.exited": False, "process.stopping": False}


def pid_in(events: Sequence[Mapping[str, Any]]) -> int:
    """The pid of the task process that works, or is ready to; 0 where there is none."""
    last = next((each for each in reversed(events) if each.get("event") in _WORKS), None)
    return int(last["pid"]) if last and _WORKS[last["event"]] else 0
