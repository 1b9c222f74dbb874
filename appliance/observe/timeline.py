"""What happened to the task processes lately: starts, crashes, restarts; bounded, the newest win."""

from appliance.clock import Clock
from appliance.values import value_class

#: Most moments that are remembered.
KEPT = 100


@value_class
class Moment:
    """``what`` is ready, crashed, recovering, degraded or not_ready; ``text`` says more."""

    at_wall_s: float
    parent: str
    what: str
    text: str = ""


class Timeline:
    """Of all parent queues of a worker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moments: list[Moment] = []
        self._last: dict[str, str] = {}

    def add(self, parent: str, what: str, text: str = "") -> None:
        """Now, this happened."""
        self._moments.append(Moment(self._clock.wall(), parent, what, text))
        del self._moments[:-KEPT]

    def state(self, parent: str, what: str) -> None:
        """The process of ``parent`` is now in this state; only a change is remembered."""
        if self._last.get(parent, "not_ready") != what:
            self.add(parent, what)
        self._last[parent] = what

    def moments(self) -> tuple[Moment, ...]:
        """Oldest first."""
        return tuple(self._moments)
