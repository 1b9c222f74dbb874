"""Whether loops still turn. Each loop says when a step begins and when the next is due. Pure."""

from appliance.clock import Clock

#: Seconds in one step, or past the time of the next, after which a loop is stuck. A Redis that is unavailable
#: ends a step far earlier, so that no orchestrator restarts a worker for it; tasks run outside of steps.
STUCK_AFTER_S = 90.0


class Pulse:
    """One loop's: :meth:`begin` before each step, :meth:`rest` after it, :meth:`end` when it is over.

    Called in the hot path, hence no more than two assignments.
    """

    __slots__ = ("_clock", "_ended", "_since_s", "_step", "name")

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._step = False
        self._since_s: float | None = None
        self._ended = False

    def begin(self) -> None:
        """A step begins."""
        self._step, self._since_s = True, self._clock.monotonic()

    def rest(self, delay_s: float | None) -> None:
        """The step is over; the next is due in ``delay_s``, or (None) when there is a reason."""
        self._step = False
        self._since_s = None if delay_s is None else self._clock.monotonic() + delay_s

    def end(self) -> None:
        """The loop is over."""
        self._ended = True

    def problem(self, now_s: float) -> str | None:
        """What is wrong with the loop at ``now_s`` (monotonic), or None."""
        if self._ended:
            return f"{self.name} has ended"
        if self._since_s is None or now_s - self._since_s < STUCK_AFTER_S:
            return None
        lasting_s = now_s - self._since_s
        return f"{self.name} has been {'in one step' if self._step else 'overdue'} for {lasting_s:.0f} s"


class Pulses:
    """Those of all loops of a worker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pulses: list[Pulse] = []

    def new(self, name: str) -> Pulse:
        """One more loop, by a name that people know."""
        pulse = Pulse(name, self._clock)
        self._pulses.append(pulse)
        return pulse

    def problems(self) -> list[str]:
        """What is wrong now, one sentence per loop; empty when all is well."""
        now_s = self._clock.monotonic()
        return [problem for pulse in self._pulses if (problem := pulse.problem(now_s))]
