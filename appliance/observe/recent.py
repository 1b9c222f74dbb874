"""The last lines of the log, kept for the status page as they were logged: after the redactor.

Task code can read that page. Text that it chose is therefore not shown there: masked where it holds a
secret, and not masked where it does not, it would say whether a guess is right. The log has all of it.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from appliance.observe.redaction import OWN_FIELDS
from appliance.values import value_class

#: Most lines that are kept, and the most characters of one.
KEPT_LINES = 200
_LINE_CHARS = 1_000
#: What a line says elsewhere, or what is the same in all.
_FRAME = frozenset(("event", "level", "timestamp", "worker_id"))
#: Events, by how they begin, that hold nothing of what task code or the programs of a deployment said.
_UNHEARD = (
    "config.",
    "dispatch.",
    "heartbeat.",
    "lease.",
    "queue.",
    "redis.",
    "registration.",
    "system.",
    "vault.",
    "watch.",
)
#: What stands for a text that is not shown.
UNSHOWN = "…"


@value_class
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
        """Add one event, free of secrets. It is made into text only when lines are asked for."""
        self._events.append(dict(event))

    def lines(self) -> list[Line]:
        """Oldest first."""
        return [_line(event) for event in self._events]


def _line(event: Mapping[str, Any]) -> Line:
    name = str(event.get("event", ""))
    unheard = name.startswith(_UNHEARD)
    fields = (
        # A traceback may quote anything.
        f"{field}={value if _is_own(field, value) or (unheard and field != 'exception') else UNSHOWN}"
        for field, value in event.items()
        if field not in _FRAME
    )
    return Line(
        at=str(event.get("timestamp", "")),
        level=str(event.get("level", "")),
        event=name[:_LINE_CHARS],
        text=" ".join(fields)[:_LINE_CHARS],
    )


def _is_own(field: str, value: Any) -> bool:
    return field in OWN_FIELDS or isinstance(value, int | float | None)
