"""What the task processes print, on its way to people: our own log, and a list in Redis (wire §6)."""

import json
from collections.abc import Callable

import structlog

from appliance.clock import Clock
from appliance.observe.outbound import Outbound

log = structlog.get_logger()

#: How many lines Redis keeps for a worker at least, and at most.
KEPT_LINES = 500
MOST_LINES = 1_000


class Output:
    """Redacts and numbers lines, then hands them on."""

    def __init__(self, clock: Clock, redact: Callable[[str], str], outbound: Outbound) -> None:
        self._clock = clock
        self._redact = redact
        self.outbound = outbound
        self._sequence = 0

    def add(self, parent: str, source: str, text: str, task_id: str | None = None) -> None:
        """Take one line; ``source`` is stdout or stderr, ``task_id`` the one task that ran then."""
        text = self._redact(text)
        self._sequence += 1
        whose = {"task_id": task_id} if task_id else {}
        now_ms = int(self._clock.wall() * 1000)
        self.outbound.add(
            json.dumps({"ts": now_ms, "src": source, "text": text, "seq": self._sequence, **whose})
        )
        log.info("process.output", parent=parent, src=source, text=text, **whose)
