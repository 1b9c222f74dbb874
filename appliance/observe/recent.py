"""The last lines of the log, kept for the status page as they were logged: after the redactor."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Most lines that are kept, and the most characters of one.
KEPT_LINES = 200
_LINE_CHARS = 1_000
_FRAME = frozenset(("event", "level", "timestamp"))


@dataclass(frozen=True)
class Line:
    """One event; ``text`` is its fields."""

    at: str
    level: str
    event: str
    text: str


class Recent:
    """A ring of them."""

    def __init__(self) -> None:
        self._events: deque[Mapping[str, Any]] = deque(maxlen=KEPT_LINES)

    def add(self, event: Mapping[str, Any]) -> None:
        """One event more, free of secrets. What it looks like is only thought about when somebody looks."""
        self._events.append(dict(event))

    def lines(self) -> list[Line]:
        """Oldest first."""
        return [_line(event) for event in self._events]


def _line(event: Mapping[str, Any]) -> Line:
    fields = (f"{name}={value}" for name, value in event.items() if name not in _FRAME)
    return Line(
        at=str(event.get("timestamp", "")),
        level=str(event.get("level", "")),
        event=str(event.get("event", ""))[:_LINE_CHARS],
        text=" ".join(fields)[:_LINE_CHARS],
    )
