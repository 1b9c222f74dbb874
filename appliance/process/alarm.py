"""The one timer of a runner: calls its ``tick`` when something is due, and sleeps without limit otherwise."""

from collections.abc import Callable

import gevent
from gevent.event import Event

from appliance.clock import Clock


class Alarm:
    """``tick`` does what is due and returns the monotonic second of the next thing, or None."""

    def __init__(self, clock: Clock, tick: Callable[[], float | None]) -> None:
        self._clock = clock
        self._tick = tick
        self._set_s: float | None = None
        self._look = Event()
        self._stopped = False

    def start(self) -> None:
        """Begin; returns at once."""
        gevent.spawn(self.run)

    def stop(self) -> None:
        """Call ``tick`` no more."""
        self._stopped = True
        self._look.set()

    def at(self, due_s: float | None) -> None:
        """Something is due at ``due_s``: be awake by then."""
        if due_s is not None and (self._set_s is None or due_s < self._set_s):
            self._set_s = due_s
            self._look.set()

    def run(self) -> None:
        """Tick and wait until :meth:`stop`."""
        while not self._stopped:
            self._look.clear()
            self._set_s = self._tick()
            delay_s = None if self._set_s is None else max(0.0, self._set_s - self._clock.monotonic())
            self._look.wait(delay_s)
