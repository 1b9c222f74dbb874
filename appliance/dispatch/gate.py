"""Whether tasks are taken now, and why not. Pure.

Rules:

- The operator's word comes first. *Closed* is final: the worker is stopping. *Quiet* can be revoked.
- Tasks are only taken for a task process that is ready, so that one that is being restarted costs no task
  anything.
- Where the process was given up (*degraded*) and the policy is ``requeue``, one task is taken now and then,
  only to be deferred: the specification asks for it, and this seldom healthy workers get practically all.
- While Redis is unavailable nothing is taken. What is here already is started all the same.

Both tables are complete; a pair that is absent is a defect and raises.
"""

from enum import Enum, auto

from appliance.dispatch.backoff import Backoff
from appliance.process.runner import Runner

#: Degraded (policy requeue): seconds between two tasks that are taken only to be deferred.
DEGRADED_TAKE_EVERY_S = 5.0


class Position(Enum):
    """What the operator wants."""

    OPEN = auto()
    QUIET = auto()
    CLOSED = auto()


class Event(Enum):
    """What the operator can say."""

    QUIET = auto()
    RESUME = auto()
    CLOSE = auto()


class Process(Enum):
    """The task process, as far as taking tasks for it is concerned."""

    READY = auto()
    NOT_READY = auto()
    DEGRADED = auto()  # given up, and the policy is to requeue


class State(Enum):
    """What follows; the value is the word in a snapshot."""

    OPEN = "open"  # as many tasks are taken as there are slots
    DEFERRING = "deferring"  # one task now and then, which is deferred at once
    NOT_READY = "not ready"
    REDIS_UNAVAILABLE = "redis unavailable"
    QUIET = "quiet"
    CLOSED = "closed"


_POSITIONS: dict[tuple[Position, Event], Position] = {
    (Position.OPEN, Event.QUIET): Position.QUIET,
    (Position.OPEN, Event.RESUME): Position.OPEN,
    (Position.OPEN, Event.CLOSE): Position.CLOSED,
    (Position.QUIET, Event.QUIET): Position.QUIET,
    (Position.QUIET, Event.RESUME): Position.OPEN,
    (Position.QUIET, Event.CLOSE): Position.CLOSED,
    (Position.CLOSED, Event.QUIET): Position.CLOSED,
    (Position.CLOSED, Event.RESUME): Position.CLOSED,
    (Position.CLOSED, Event.CLOSE): Position.CLOSED,
}

_STATES: dict[tuple[Position, Process], State] = {
    (Position.OPEN, Process.READY): State.OPEN,
    (Position.OPEN, Process.NOT_READY): State.NOT_READY,
    (Position.OPEN, Process.DEGRADED): State.DEFERRING,
    (Position.QUIET, Process.READY): State.QUIET,
    (Position.QUIET, Process.NOT_READY): State.QUIET,
    (Position.QUIET, Process.DEGRADED): State.QUIET,
    (Position.CLOSED, Process.READY): State.CLOSED,
    (Position.CLOSED, Process.NOT_READY): State.CLOSED,
    (Position.CLOSED, Process.DEGRADED): State.CLOSED,
}

#: The states in which something is taken, which takes a Redis.
_TAKING = (State.OPEN, State.DEFERRING)


def move(position: Position, event: Event) -> Position:
    """Where ``event`` leads."""
    return _POSITIONS[position, event]


def decide(position: Position, process: Process, *, redis_available: bool = True) -> State:
    """What is taken, or why nothing is."""
    state = _STATES[position, process]
    return State.REDIS_UNAVAILABLE if state in _TAKING and not redis_available else state


class Gate:
    """The gate of one dispatcher: its operator's word, its ``runner``'s process, its ``redis``."""

    def __init__(self, runner: Runner, redis: Backoff, *, requeue_degraded: bool) -> None:
        self._runner = runner
        self._redis = redis
        self._requeue_degraded = requeue_degraded
        self._position = Position.OPEN
        self._opens_when_ready = True
        self._defer_at_s = 0.0

    def tell(self, event: Event) -> None:
        """Take in what the operator says."""
        self._position = move(self._position, event)
        self._opens_when_ready = decide(self._position, Process.READY) is State.OPEN

    @property
    def open(self) -> bool:
        """Whether a task could be started now."""
        # Asked several times for every task, and to look an enum up costs more than all else here: so the
        # table is read when the operator speaks, and only the process is looked at each time.
        return self._opens_when_ready and self._runner.ready

    def state(self, now_s: float | None = None) -> State:
        """What is taken, or why nothing is; without ``now_s`` as if Redis were available."""
        if self._runner.ready:
            process = Process.READY
        elif self._requeue_degraded and self._runner.state().recovery == "degraded":
            process = Process.DEGRADED
        else:
            process = Process.NOT_READY
        available = now_s is None or now_s >= self._redis.retry_at_s
        return decide(self._position, process, redis_available=available)

    @property
    def deferring(self) -> bool:
        """Whether a task that comes in now is deferred."""
        return not self.open and self.state() is State.DEFERRING

    def take_to_defer(self, now_s: float) -> bool:
        """Whether to take one task now only to defer it; once it says so, not again for a while."""
        if now_s < self._defer_at_s or not self.deferring:
            return False
        self._defer_at_s = now_s + DEGRADED_TAKE_EVERY_S
        return True

    def next_look_s(self, now_s: float) -> float | None:
        """Seconds until :meth:`take_to_defer` is worth asking again; None where it is not."""
        return self._defer_at_s - now_s if self.deferring else None
