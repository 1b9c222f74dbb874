"""Keeps one sub-queue under watch while the dispatcher has room and the queue is empty."""

from collections import deque
from collections.abc import Callable

import gevent
import structlog
from gevent.event import Event

from appliance.errors import QueueError
from appliance.observe.pulse import Pulse
from appliance.queue.waiter import Waiter

log = structlog.get_logger()

#: First and longest pause after a watch failed, in seconds. The longest is how late a task may be taken
#: where watching is not possible at all (no connection to spare, no permission).
PAUSES_S = (0.05, 1.0)


class Watch:
    """Runs a :class:`Waiter` whenever armed. ``arrived`` holds ids that came and wait to be claimed."""

    def __init__(self, queue: str, waiter: Waiter, notify: Callable[[], None]) -> None:
        self.queue = queue
        self.arrived: deque[bytes] = deque()
        self.failed = False
        self._waiter = waiter
        self._notify = notify
        self._armed = Event()
        self._waiting = False
        self._failures = 0
        self._ended = False

    def arm(self) -> None:
        """Wait for one id to arrive; nothing changes when already armed."""
        self._armed.set()

    def disarm(self) -> None:
        """Stop waiting; an id that arrives all the same ends up in ``arrived``."""
        self._armed.clear()
        if self._waiting:
            self._waiter.cancel()

    @property
    def armed(self) -> bool:
        """Whether an id may still arrive."""
        return self._armed.is_set() or self._waiting

    def run(self, pulse: Pulse) -> None:
        """Wait while armed, until :meth:`end`."""
        while not self._ended:
            pulse.rest(None)
            self._armed.wait()
            if self._ended:
                return
            pulse.begin()
            self._waiting = True
            try:
                moved = self._waiter.wait()
            except QueueError as exc:
                self._waiting = False
                self._pause(exc)
                self.failed, moved = True, None
            else:
                self._failures = 0
            finally:
                self._waiting = False
            if moved is not None:
                self.arrived.append(moved)
            if moved is not None or self.failed:
                self._armed.clear()
                self._notify()
            elif not self._armed.is_set():
                self._notify()

    def _pause(self, exc: QueueError) -> None:
        if not self._failures:
            log.warning("watch.failed", queue=self.queue, error=str(exc))
        first_s, longest_s = PAUSES_S
        gevent.sleep(min(first_s * 2 ** min(self._failures, 20), longest_s))
        self._failures += 1

    def end(self) -> None:
        """Let :meth:`run` return; only after a :meth:`disarm`."""
        self._ended = True
        self._armed.set()
        self._waiter.close()
