"""How one process takes over from another, as a table. Pure.

At any time one process *serves* (or recovery is about to start it), at most one is on *standby* until it is
ready to take over, and those that were replaced are *retiring*: they answer what they hold, and end.

Rules:

- The process that serves goes on serving until the standby is ready: taking tasks does not pause.
- A standby of the same code is called for by age (recycling). It is not needed any more once recovery
  starts a fresh process anyway, and is dropped then.
- A standby of other code is called for by a redeployment. It still has to show that it works, so nothing
  that happens to the process that serves drops it. It takes the place of a standby of the same code.
- A process that has grown old where memory has no room for two is *closing*: it takes no task any more, and
  is replaced as soon as it is idle.
- A standby that ends before it is ready changes nothing for the process that serves.
- One redeployment at a time: a second one is refused by the table.
"""

from enum import Enum, auto


class State(Enum):
    """What is planned beside the process that serves."""

    SERVING = auto()  # nothing
    RECYCLING = auto()  # a standby of the same code gets ready
    CLOSING = auto()  # no standby: it is replaced once idle
    REDEPLOYING = auto()  # a standby of other code gets ready
    CLOSING_AND_REDEPLOYING = auto()  # a standby of other code gets ready while it becomes idle


class Event(Enum):
    """What can happen to the plan."""

    AGED = auto()  # the process that serves has grown old, and memory has room for two
    AGED_WITHOUT_ROOM = auto()
    REDEPLOY = auto()  # other code is to take over
    STANDBY_READY = auto()
    STANDBY_ENDED = auto()  # before it was ready
    SERVING_ENDS = auto()  # the process that serves ended, or is being ended: recovery decides what follows


class Action(Enum):
    """What the owner of the processes has to do about it."""

    NOTHING = auto()
    START_STANDBY = auto()  # in place of another, if there is one
    DROP_STANDBY = auto()
    CLOSE_INTAKE = auto()
    TAKE_OVER = auto()  # the standby serves, the process before it retires
    POSTPONE = auto()  # leave the aged process at work for a while
    REFUSE = auto()  # the redeployment has failed


_TABLE: dict[tuple[State, Event], tuple[State, Action]] = {
    (State.SERVING, Event.AGED): (State.RECYCLING, Action.START_STANDBY),
    (State.SERVING, Event.AGED_WITHOUT_ROOM): (State.CLOSING, Action.CLOSE_INTAKE),
    (State.SERVING, Event.REDEPLOY): (State.REDEPLOYING, Action.START_STANDBY),
    (State.SERVING, Event.SERVING_ENDS): (State.SERVING, Action.NOTHING),
    (State.RECYCLING, Event.REDEPLOY): (State.REDEPLOYING, Action.START_STANDBY),
    (State.RECYCLING, Event.STANDBY_READY): (State.SERVING, Action.TAKE_OVER),
    (State.RECYCLING, Event.STANDBY_ENDED): (State.SERVING, Action.POSTPONE),
    (State.RECYCLING, Event.SERVING_ENDS): (State.SERVING, Action.DROP_STANDBY),
    (State.CLOSING, Event.REDEPLOY): (State.CLOSING_AND_REDEPLOYING, Action.START_STANDBY),
    (State.CLOSING, Event.SERVING_ENDS): (State.SERVING, Action.NOTHING),
    (State.REDEPLOYING, Event.STANDBY_READY): (State.SERVING, Action.TAKE_OVER),
    (State.REDEPLOYING, Event.STANDBY_ENDED): (State.SERVING, Action.REFUSE),
    (State.REDEPLOYING, Event.SERVING_ENDS): (State.REDEPLOYING, Action.NOTHING),
    (State.CLOSING_AND_REDEPLOYING, Event.STANDBY_READY): (State.SERVING, Action.TAKE_OVER),
    (State.CLOSING_AND_REDEPLOYING, Event.STANDBY_ENDED): (State.CLOSING, Action.REFUSE),
    (State.CLOSING_AND_REDEPLOYING, Event.SERVING_ENDS): (State.REDEPLOYING, Action.NOTHING),
}

#: States in which the process that serves takes no task.
CLOSED = frozenset((State.CLOSING, State.CLOSING_AND_REDEPLOYING))


def advance(state: State, event: Event) -> tuple[State, Action]:
    """Return the state after ``event``, and what to do; RuntimeError where it cannot come now."""
    after = _TABLE.get((state, event))
    if after is None:
        raise RuntimeError(f"{event.name} cannot happen while {state.name}")
    return after
