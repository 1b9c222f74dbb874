"""What the task processes print, on its way to people: our own log, and a list in Redis (wire §6)."""

import json
from collections.abc import Callable

import structlog

from appliance.clock import Clock
from appliance.observe.outbound import Outbound

log = structlog.get_logger()

#: How many lines Redis keeps for a worker, and for how long after the last, in seconds.
KEPT_LINES = 500
LOGS_TTL_S = 24 * 3600


class Output:
    """Redacts and numbers lines, then hands them on."""

    def __init__(self, clock: Clock, redact: Callable[[str], str], outbound: Outbound) -> None:
        self._clock = clock
        self._redact = redact
        self.outbound = outbound
        self._sequence = 0

    def add(self, parent: str, source: str, text: str) -> None:
        """Take one line; ``source`` is stdout or stderr."""
        text = self._redact(text)
        self._sequence += 1
        line = {"ts": int(self._clock.wall() * 1000), "src": source, "text": text, "seq": self._sequence}
        self.outbound.add(json.dumps(line))
        log.info("child.output", queue=parent, src=source, text=text)
