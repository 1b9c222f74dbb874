"""What happened to the task processes lately: starts, crashes, restarts; bounded, the newest win."""

from dataclasses import dataclass

from appliance.clock import Clock

#: Most moments that are remembered.
KEPT = 100
#: Seconds within which a change of state is what a crash led to.
_AT_ONCE_S = 0.01


@dataclass(frozen=True)
class Moment:
    """``what`` is ready, crashed, recovering, degraded or not_ready; ``text`` says more."""

    at_wall_s: float
    parent: str
    what: str
    text: str = ""


class Timeline:
    """Of all lanes of a worker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moments: list[Moment] = []
        self._last: dict[str, str] = {}

    def add(self, parent: str, what: str, text: str = "") -> None:
        """Now, this happened."""
        self._moments.append(Moment(self._clock.wall(), parent, what, text))
        del self._moments[:-KEPT]

    def crash(self, parent: str, text: str) -> None:
        """The process of ``parent`` ended unasked; what became of that may have been told already."""
        crashed = Moment(self._clock.wall(), parent, "crashed", text)
        last = self._moments[-1] if self._moments else None
        told = last is not None and last.parent == parent and crashed.at_wall_s - last.at_wall_s < _AT_ONCE_S
        self._moments.insert(len(self._moments) - told, crashed)
        del self._moments[:-KEPT]

    def state(self, parent: str, what: str) -> None:
        """The process of ``parent`` is now in this state; only a change is remembered."""
        if self._last.get(parent, "not_ready") != what:
            self.add(parent, what)
        self._last[parent] = what

    def moments(self) -> tuple[Moment, ...]:
        """Oldest first."""
        return tuple(self._moments)
