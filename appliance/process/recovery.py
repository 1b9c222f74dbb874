"""When a task process is started again, and when it no longer is: the recovery of the specification. Pure.

Rules:

- The restart after the n-th consecutive failure is due ``min(initial_delay · factor^(n-1), max_delay)``
  after it. ``max_restarts`` restarts are made; the failure after them is final (*degraded*).
  With recovery disabled the first failure is.
- A failure is any end that was not asked for, with exit status 0 as well, and any start that did not
  become ready. A planned end (:attr:`Event.REPLACE`) is no failure; the start after it can be one.
- A crash that a task is to blame for (:attr:`Event.CRASHED_BY_TASK`, see
  :mod:`~appliance.process.experience`) is no failure either: it is not counted and does not interrupt the
  cooldown. Its restart waits ``initial_delay``. Where no restart is allowed it is a failure like any other.
- ``cooldown_period`` since becoming ready, without a failure, makes the next failure count from 1 again.
  Planned replacements do not interrupt that time.
- A process of other code that works (:attr:`Event.RENEWED`, then READY) resets the count in every phase: what
  the code before it did says nothing about this one.
- Nothing is started after :attr:`Event.STOP`.

Time is a value here (monotonic seconds); the owner of the machine delivers :attr:`Event.DUE` when
the time of a :class:`Wait` has come.
"""

from enum import Enum, auto

from appliance.config.settings import RecoverySettings
from appliance.values import value_class


class Phase(Enum):
    """Where the process stands, as far as starting it is concerned."""

    NEW = auto()
    STARTING = auto()
    RUNNING = auto()
    REPLACING = auto()  # being ended because the worker asked it to leave
    WAITING = auto()  # failed; the next start is due later
    DEGRADED = auto()
    STOPPED = auto()


class Event(Enum):
    """What can happen to it."""

    START = auto()
    READY = auto()
    FAILED = auto()
    CRASHED_BY_TASK = auto()
    REPLACE = auto()
    ENDED = auto()  # the planned end that REPLACE announced
    DUE = auto()
    RENEWED = auto()  # another process, of other code, takes over
    STOP = auto()


@value_class(slots=True)
class Start:
    """Start a process now."""


@value_class(slots=True)
class Wait:
    """A restart is due at ``due_s``, ``delay_s`` after the end of the process before it.

    ``restart`` is its number among consecutive ones; 0 after a crash that a task is to blame for.
    """

    due_s: float
    delay_s: float
    restart: int


@value_class(slots=True)
class GiveUp:
    """The process is degraded: nothing is started any more."""


Decision = Start | Wait | GiveUp | None

_TABLE: dict[tuple[Phase, Event], Phase] = {
    (Phase.NEW, Event.START): Phase.STARTING,
    (Phase.STARTING, Event.READY): Phase.RUNNING,
    # FAILED leads to DEGRADED instead where all restarts are used up.
    (Phase.STARTING, Event.FAILED): Phase.WAITING,
    (Phase.RUNNING, Event.FAILED): Phase.WAITING,
    (Phase.RUNNING, Event.CRASHED_BY_TASK): Phase.WAITING,
    (Phase.RUNNING, Event.REPLACE): Phase.REPLACING,
    (Phase.REPLACING, Event.ENDED): Phase.STARTING,
    (Phase.WAITING, Event.DUE): Phase.STARTING,
    **{(phase, Event.RENEWED): Phase.STARTING for phase in Phase if phase not in (Phase.NEW, Phase.STOPPED)},
    **{(phase, Event.STOP): Phase.STOPPED for phase in Phase},
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
        """Failures since the last cooldown."""
        return 0 if self._cooled_down(now_s) else self._fails

    def label(self) -> str:
        """Return the heartbeat's word: idle, recovering (until ready again) or degraded; a stop keeps it."""
        if self._phase is Phase.DEGRADED:
            return "degraded"
        if self._phase is Phase.STOPPED:
            return self._last_label
        # A planned replacement is no recovery: then there has been a working process since the last failure.
        restarting = self._phase is Phase.STARTING and self._fails > 0 and self._stable_since_s is None
        return "recovering" if self._phase is Phase.WAITING or restarting else "idle"

    def on(self, event: Event, now_s: float) -> Decision:
        """Take an event; returns what to do about it. RuntimeError for one that cannot come now."""
        if self._phase is Phase.STOPPED:
            # The last process may still exit or become ready: it is being ended, so that changes nothing.
            return None
        before, after = self._phase, _TABLE.get((self._phase, event))
        if after is None:
            raise RuntimeError(f"{event.name} cannot happen while {self._phase.name}")
        # The alarm may ring early, or for something else that is due: the delay holds all the same.
        if self._wait and event is Event.DUE and now_s < self._wait.due_s:
            return self._wait
        if event is Event.STOP:
            self._last_label = self.label()
        self._phase = after
        self._wait = None
        match event:
            case Event.FAILED:
                return self._fail(now_s)
            case Event.CRASHED_BY_TASK:
                allowed = self._settings.enabled and self._settings.max_restarts > 0
                return self._restart_later(now_s, 0) if allowed else self._fail(now_s)
            # Stable from the READY that follows: what ran before it was other code.
            case Event.RENEWED:
                self._fails, self._stable_since_s = 0, None
            # Only the first READY since a failure: a planned replacement must not restart the cooldown.
            case Event.READY if self._stable_since_s is None:
                self._stable_since_s = now_s
            case Event.START | Event.ENDED | Event.DUE:
                # Only what followed a failure: the first start and a planned replacement are no restarts.
                self._restarts += before is Phase.WAITING
                return Start()
        return None

    def _fail(self, now_s: float) -> Decision:
        # Before this failure is counted: it is the first of a new series.
        if self._cooled_down(now_s):
            self._fails = 0
        self._stable_since_s = None
        self._fails += 1
        if not self._settings.enabled or self._fails > self._settings.max_restarts:
            self._phase = Phase.DEGRADED
            return GiveUp()
        return self._restart_later(now_s, self._fails)

    def _restart_later(self, now_s: float, restart: int) -> Wait:
        delay_s = self._delay_s(max(restart, 1))
        self._wait = Wait(now_s + delay_s, delay_s, restart)
        return self._wait

    def _delay_s(self, restart: int) -> float:
        longest_s = self._settings.max_delay_s
        try:
            grown_s: float = self._settings.initial_delay_s * self._settings.backoff_factor ** (restart - 1)
        except OverflowError:
            # A float has no room for it, so it is longer than the longest; times no delay it stays none.
            return longest_s if self._settings.initial_delay_s else 0.0
        return min(grown_s, longest_s)

    def _cooled_down(self, now_s: float) -> bool:
        since_s = self._stable_since_s
        return since_s is not None and now_s - since_s >= self._settings.cooldown_period_s
