"""When the worker is to take on what a folder holds now, as a table. Pure.

Rules:

- What was saved is taken on once it has been quiet for a moment: editors and git write several files in
  succession. A folder that is never quiet is taken on all the same, after :data:`LONGEST_S`.
- One reload is under way at a time; what is saved meanwhile is one more after it.
- While the worker starts it is left alone: what is saved then may or may not be what it deploys.
- A worker that has ended is started again by what is saved next, and not before: what ended it is in the
  folder.
"""

from enum import Enum, auto

#: Seconds without a change after which a save is whole, and seconds after which that is not waited for.
QUIET_S = 0.1
LONGEST_S = 2.0


class State(Enum):
    """What is under way."""

    STARTING = auto()
    STARTING_CHANGED = auto()  # and something was saved since
    SERVING = auto()
    SETTLING = auto()  # something was saved, and more may follow
    RELOADING = auto()
    RELOADING_CHANGED = auto()
    DOWN = auto()  # the worker has ended
    DOWN_SETTLING = auto()


class Event(Enum):
    """What can happen."""

    SAVED = auto()
    QUIET = auto()
    RUNS = auto()  # the worker has deployed what it was started with
    RELOADED = auto()  # taken on, refused, or nothing new: the worker is done with it
    ENDED = auto()  # the worker has


class Action(Enum):
    """What is to be done."""

    NOTHING = auto()
    RELOAD = auto()
    START = auto()


_TABLE: dict[tuple[State, Event], tuple[State, Action]] = {
    (State.STARTING, Event.SAVED): (State.STARTING_CHANGED, Action.NOTHING),
    (State.STARTING, Event.RUNS): (State.SERVING, Action.NOTHING),
    (State.STARTING, Event.ENDED): (State.DOWN, Action.NOTHING),
    (State.STARTING_CHANGED, Event.SAVED): (State.STARTING_CHANGED, Action.NOTHING),
    (State.STARTING_CHANGED, Event.RUNS): (State.SETTLING, Action.NOTHING),
    (State.STARTING_CHANGED, Event.ENDED): (State.DOWN_SETTLING, Action.NOTHING),
    (State.SERVING, Event.SAVED): (State.SETTLING, Action.NOTHING),
    (State.SERVING, Event.ENDED): (State.DOWN, Action.NOTHING),
    (State.SETTLING, Event.SAVED): (State.SETTLING, Action.NOTHING),
    (State.SETTLING, Event.QUIET): (State.RELOADING, Action.RELOAD),
    (State.SETTLING, Event.ENDED): (State.DOWN_SETTLING, Action.NOTHING),
    (State.RELOADING, Event.SAVED): (State.RELOADING_CHANGED, Action.NOTHING),
    (State.RELOADING, Event.RELOADED): (State.SERVING, Action.NOTHING),
    (State.RELOADING, Event.ENDED): (State.DOWN, Action.NOTHING),
    (State.RELOADING_CHANGED, Event.SAVED): (State.RELOADING_CHANGED, Action.NOTHING),
    (State.RELOADING_CHANGED, Event.RELOADED): (State.SETTLING, Action.NOTHING),
    (State.RELOADING_CHANGED, Event.ENDED): (State.DOWN_SETTLING, Action.NOTHING),
    (State.DOWN, Event.SAVED): (State.DOWN_SETTLING, Action.NOTHING),
    (State.DOWN_SETTLING, Event.SAVED): (State.DOWN_SETTLING, Action.NOTHING),
    (State.DOWN_SETTLING, Event.QUIET): (State.STARTING, Action.START),
}
#: States in which it is waited for quiet.
_SETTLING = frozenset((State.SETTLING, State.DOWN_SETTLING))


def advance(state: State, event: Event) -> tuple[State, Action]:
    """Return the state after ``event``, and what to do; RuntimeError where it cannot come now."""
    after = _TABLE.get((state, event))
    if after is None:
        raise RuntimeError(f"{event.name} cannot happen while {state.name}")
    return after


class Reloading:
    """The table with its time: ``now_s`` is monotonic everywhere."""

    def __init__(self) -> None:
        self.state = State.STARTING
        #: Of what was saved and is not taken on yet.
        self._first_s: float | None = None
        self._last_s = 0.0

    def on(self, event: Event, now_s: float) -> Action:
        """Take ``event``; returns what to do."""
        self.state, action = advance(self.state, event)
        if event is Event.SAVED:
            self._first_s = now_s if self._first_s is None else self._first_s
            self._last_s = now_s
        return action

    def tick(self, now_s: float) -> Action:
        """What is to be done now because of the time."""
        if self.state not in _SETTLING or self._first_s is None:
            return Action.NOTHING
        if now_s < min(self._last_s + QUIET_S, self._first_s + LONGEST_S):
            return Action.NOTHING
        self._first_s = None
        return self.on(Event.QUIET, now_s)
