"""An answer that is costly to make and good for a while: made once, however many ask for it."""

from collections.abc import Callable
from typing import Generic, TypeVar

from gevent.lock import RLock

from appliance.clock import Clock

T = TypeVar("T")


class Fresh(Generic[T]):
    """What ``make`` returns, for ``for_s`` seconds; who asks while it is being made gets the same."""

    def __init__(self, make: Callable[[], T], for_s: float, clock: Clock) -> None:
        self._make = make
        self._for_s = for_s
        self._clock = clock
        self._lock = RLock()
        self._made: tuple[float, T] | None = None

    def get(self) -> T:
        """The answer; raises what ``make`` raises."""
        with self._lock:
            if self._made is None or self._clock.monotonic() - self._made[0] >= self._for_s:
                value = self._make()
                self._made = self._clock.monotonic(), value
            return self._made[1]
