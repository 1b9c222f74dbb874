"""The newest lines the task processes printed, on their way to people (wire §6)."""

import json
from collections import deque
from collections.abc import Callable

import structlog

from appliance.clock import Clock

log = structlog.get_logger()

#: How many lines Redis keeps for a worker, and how many wait here while Redis is away.
KEPT_LINES = 500


class OutputBuffer:
    """Collects lines, redacted and numbered, until the heartbeat takes them to Redis."""

    def __init__(self, clock: Clock, redact: Callable[[str], str]) -> None:
        self._clock = clock
        self._redact = redact
        self._sequence = 0
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)

    def add(self, parent: str, source: str, text: str) -> None:
        """Take one line; ``source`` is stdout or stderr. It also goes to the worker's own log."""
        text = self._redact(text)
        self._sequence += 1
        line = {"ts": int(self._clock.wall() * 1000), "src": source, "text": text, "seq": self._sequence}
        self._lines.append(json.dumps(line, ensure_ascii=False))
        log.info("child.output", queue=parent, src=source, text=text)

    def peek(self) -> list[str]:
        """The lines that wait, oldest first, as JSON."""
        return list(self._lines)

    def drop(self, lines: list[str]) -> None:
        """Forget these: they have arrived. Lines added since :meth:`peek` stay."""
        arrived = set(lines)
        while self._lines and self._lines[0] in arrived:
            self._lines.popleft()
