"""The timer of a runner: calls its ``tick`` when something is due, and sleeps without limit otherwise."""

from collections.abc import Callable

import gevent

from appliance.clock import Clock
from appliance.event import Event


class Alarm:
    """``tick`` does what is due and returns the monotonic second of the next thing, or None."""

    def __init__(self, clock: Clock, tick: Callable[[], float | None]) -> None:
        self._clock = clock
        self._tick = tick
        #: When the next tick is due, as last set; an earlier time replaces it, a later one never does.
        self._set_s: float | None = None
        self._look = Event()
        self._stopped = False

    def start(self) -> None:
        """Start the timer; returns at once."""
        gevent.spawn(self.run)

    def stop(self) -> None:
        """Stop the timer: ``tick`` is not called again."""
        self._stopped = True
        self._look.set()

    def at(self, due_s: float | None) -> None:
        """Call ``tick`` at ``due_s`` at the latest; None is nothing to do."""
        if due_s is not None and (self._set_s is None or due_s < self._set_s):
            self._set_s = due_s
            self._look.set()

    def run(self) -> None:
        """Tick and wait, until :meth:`stop`."""
        while not self._stopped:
            # Before the tick: what becomes due during it sets the event again, and the wait returns at once.
            self._look.clear()
            self._set_s = self._tick()
            # Measured after the tick, which may have taken its time.
            delay_s = None if self._set_s is None else max(0.0, self._set_s - self._clock.monotonic())
            self._look.wait(delay_s)
