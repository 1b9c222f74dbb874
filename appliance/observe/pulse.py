"""Whether loops still turn. Each loop says when a step begins and when the next is due; time is injected."""

from appliance.clock import Clock

#: Seconds in one step, or past the time of the next, after which a loop is stuck. Redis being away ends a
#: step far earlier, so that nobody restarts a worker because of it; a task takes place outside of these.
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

    def trouble(self, now_s: float) -> str | None:
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

    def troubles(self) -> list[str]:
        """What is wrong now, a sentence a loop; empty when all is well."""
        now_s = self._clock.monotonic()
        return [trouble for pulse in self._pulses if (trouble := pulse.trouble(now_s))]
