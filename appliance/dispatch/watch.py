"""Keeps one queue under watch while the dispatcher has room and the queue is empty."""

from collections import deque
from collections.abc import Callable, Iterable

import gevent
import structlog

from appliance.dispatch.backoff import Backoff, Delays
from appliance.errors import QueueError
from appliance.event import Event
from appliance.observe.pulse import Pulse
from appliance.queue.waiter import Waiter, cancel

log = structlog.get_logger()

#: Between tries of a watch that fails. The longest delay is how late a task may be taken where watching is
#: not possible at all (no connection to spare, no permission).
DELAYS = Delays(0.05, 1.0)


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
        self._backoff = Backoff(DELAYS)
        self._ended = False

    def arm(self) -> None:
        """Wait for one id to arrive; nothing changes when already armed."""
        self._armed.set()

    def disarm(self) -> Waiter | None:
        """Stop waiting, once the waiter that is returned is cancelled; see :func:`disarm`."""
        self._armed.clear()
        return self._waiter if self._waiting else None

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
                # Before the pause: no id can arrive during it, so that nothing need wait for its end.
                self._waiting = False
                self._pause(exc)
                self.failed, moved = True, None
            else:
                self._backoff.worked()
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
        if not self._backoff.failures:
            log.warning("watch.failed", queue=self.queue, error=str(exc))
        gevent.sleep(self._backoff.failed(now_s=0.0))

    def end(self) -> None:
        """Let :meth:`run` return; only after a :meth:`disarm`."""
        self._ended = True
        self._armed.set()
        self._waiter.close()


def disarm(watches: Iterable[Watch]) -> None:
    """Let these stop waiting, all in one round trip; an id that arrives all the same is in ``arrived``."""
    cancel([waiter for watch in watches if (waiter := watch.disarm()) is not None])
