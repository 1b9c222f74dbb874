"""When a task process is started again, and when no more: the specification's recovery as a table.

Rules:

- Restart n of a row of failures is due ``min(initial_delay · factor^(n-1), max_delay)`` after the
  n-th failure. ``max_restarts`` restarts are made; the failure after them is final (*degraded*).
  With recovery disabled the first failure is.
- A failure is any end that was not asked for, with exit status 0 as well, and any start that did not
  become ready. A planned end (:attr:`Signal.REPLACE`) is none; the start after it can be.
- ``cooldown_period`` since becoming ready, without a failure, ends the row: the next one counts
  from 1. Planned replacements do not interrupt that time.
- Another process that works (:attr:`Signal.RENEWED`, then READY) ends the row, whatever the phase: code was
  deployed anew, and what the old one did is no measure for it.
- Nothing is started after :attr:`Signal.STOP`.

Time is a value here (monotonic seconds); whoever holds the machine delivers :attr:`Signal.DUE` when
the time of a :class:`Wait` has come.
"""

from dataclasses import dataclass
from enum import Enum, auto

from appliance.config.settings import RecoverySettings


class Phase(Enum):
    """Where the process stands, as far as starting it is concerned."""

    NEW = auto()
    STARTING = auto()
    RUNNING = auto()
    REPLACING = auto()  # running, or on its way out by our own wish
    WAITING = auto()  # failed; the next start is due later
    DEGRADED = auto()
    STOPPED = auto()


class Signal(Enum):
    """What can happen to it."""

    START = auto()
    READY = auto()
    FAILED = auto()
    REPLACE = auto()
    ENDED = auto()  # the planned end that REPLACE announced
    DUE = auto()
    RENEWED = auto()  # another process, of other code, takes over
    STOP = auto()


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Start number ``restart`` of the row is due at ``due_s``, ``delay_s`` after the failure."""

    due_s: float
    delay_s: float
    restart: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Degraded: nothing is started any more."""


Decision = Start | Wait | GiveUp | None

_TABLE: dict[tuple[Phase, Signal], Phase] = {
    (Phase.NEW, Signal.START): Phase.STARTING,
    (Phase.STARTING, Signal.READY): Phase.RUNNING,
    # FAILED leads to DEGRADED instead where the row has used up its restarts.
    (Phase.STARTING, Signal.FAILED): Phase.WAITING,
    (Phase.RUNNING, Signal.FAILED): Phase.WAITING,
    (Phase.RUNNING, Signal.REPLACE): Phase.REPLACING,
    (Phase.REPLACING, Signal.ENDED): Phase.STARTING,
    (Phase.WAITING, Signal.DUE): Phase.STARTING,
    **{(phase, Signal.RENEWED): Phase.STARTING for phase in Phase if phase not in (Phase.NEW, Phase.STOPPED)},
    **{(phase, Signal.STOP): Phase.STOPPED for phase in Phase},
}


class Recovery:
    """The machine for one task process; see the module for its rules."""

    def __init__(self, settings: RecoverySettings) -> None:
        self._settings = settings
        self._phase = Phase.NEW
        self._fails = 0
        self._restarts = 0
        self._wait: Wait | None = None
        self._last_label = "idle"
        #: Since when there has been a working process without a failure.
        self._stable_since_s: float | None = None

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self._phase

    @property
    def total_restarts(self) -> int:
        """Starts made because of a failure."""
        return self._restarts

    @property
    def due_s(self) -> float | None:
        """When the next start is due; None while nothing waits."""
        return self._wait.due_s if self._wait else None

    def consecutive_fails(self, now_s: float) -> int:
        """Length of the present row of failures."""
        return 0 if self._cooled_down(now_s) else self._fails

    def label(self) -> str:
        """The word of the heartbeat: idle, recovering (until ready again) or degraded; a stop keeps it."""
        if self._phase is Phase.DEGRADED:
            return "degraded"
        if self._phase is Phase.STOPPED:
            return self._last_label
        restarting = self._phase is Phase.STARTING and self._fails > 0 and self._stable_since_s is None
        return "recovering" if self._phase is Phase.WAITING or restarting else "idle"

    def on(self, signal: Signal, now_s: float) -> Decision:
        """Take a signal; returns what to do about it. RuntimeError for one that cannot come now."""
        if self._phase is Phase.STOPPED:
            return None  # whatever the last process still does concerns nobody
        before, after = self._phase, _TABLE.get((self._phase, signal))
        if after is None:
            raise RuntimeError(f"{signal.name} cannot happen while {self._phase.name}")
        if self._wait and signal is Signal.DUE and now_s < self._wait.due_s:
            return self._wait
        if signal is Signal.STOP:
            self._last_label = self.label()
        self._phase = after
        self._wait = None
        match signal:
            case Signal.FAILED:
                return self._fail(now_s)
            case Signal.RENEWED:
                self._fails, self._stable_since_s = 0, None
            case Signal.READY if self._stable_since_s is None:
                self._stable_since_s = now_s
            case Signal.START | Signal.ENDED | Signal.DUE:
                self._restarts += before is Phase.WAITING
                return Start()
        return None

    def _fail(self, now_s: float) -> Decision:
        if self._cooled_down(now_s):
            self._fails = 0
        self._stable_since_s = None
        self._fails += 1
        if not self._settings.enabled or self._fails > self._settings.max_restarts:
            self._phase = Phase.DEGRADED
            return GiveUp()
        delay_s = self._delay_s(self._fails)
        self._wait = Wait(now_s + delay_s, delay_s, self._fails)
        return self._wait

    def _delay_s(self, restart: int) -> float:
        longest_s = self._settings.max_delay_s
        try:
            grown_s: float = self._settings.initial_delay_s * self._settings.backoff_factor ** (restart - 1)
        except OverflowError:
            return longest_s if self._settings.initial_delay_s else 0.0
        return min(grown_s, longest_s)

    def _cooled_down(self, now_s: float) -> bool:
        since_s = self._stable_since_s
        return since_s is not None and now_s - since_s >= self._settings.cooldown_period_s
