"""A line of what is going on, now and then: silence for minutes looks like a hang."""

import structlog

from appliance.clock import Clock

log = structlog.get_logger()

#: Seconds between lines of an installer's or git's output in the log.
PROGRESS_EVERY_S = 5.0
#: Seconds between lines that say that it goes on, while they say nothing.
SILENCE_EVERY_S = 30.0


class Progress:
    """Hears every line of the programs that deploy for ``parent``, and logs the latest of them."""

    def __init__(self, parent: str, clock: Clock) -> None:
        self._log = log.bind(parent=parent)
        self._clock = clock
        self._said_s = clock.monotonic()
        self._latest = ""
        self._is_news = False

    def heard(self, line: str) -> None:
        """Take in a line of output."""
        self._log.debug("deploy.output", line=line)
        self._latest, self._is_news = line, True

    def tick(self) -> None:
        """Log what was heard last, or that nothing was, where it is time for that."""
        waited_s = self._clock.monotonic() - self._said_s
        if self._is_news and waited_s >= PROGRESS_EVERY_S:
            self._log.info("deploy.progress", line=self._latest)
        elif waited_s >= SILENCE_EVERY_S:
            self._log.info("deploy.still_working", last_line=self._latest)
        else:
            return
        self._said_s += waited_s
        self._is_news = False
