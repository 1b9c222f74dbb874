"""The life of one task process as a table, and what its end means for the tasks it held. Pure.

Rules:

- A process that ends, or that we have to end, before it is ready has failed to start.
- One that ends afterwards without being asked to has crashed, whatever its exit status. One that the worker
  has to end because it cannot work any more (it closed a pipe) has crashed as well.
- One that the worker asks to leave (stop, replacement, a one-shot process after its answer) has left, however
  it ends. A request is never taken back: nothing that the process does on its way out is a crash.
"""

from enum import Enum, auto

from appliance.process.outcome import Crashed, Returned


class Stage(Enum):
    """Where one process stands; the last three are final."""

    STARTING = auto()
    READY = auto()
    FAILING = auto()  # being ended: it did not get ready
    BREAKING = auto()  # being ended: it was ready and cannot work any more
    LEAVING = auto()  # being ended because the worker asked it to leave
    START_FAILED = auto()
    CRASHED = auto()
    LEFT = auto()


class Event(Enum):
    """What can happen to it."""

    READY = auto()  # it said that it is ready
    BROKEN = auto()  # it refused to start, took too long to, or closed a pipe
    DISMISSED = auto()  # the worker asks it to leave
    EXITED = auto()


_TABLE: dict[tuple[Stage, Event], Stage] = {
    (Stage.STARTING, Event.READY): Stage.READY,
    (Stage.STARTING, Event.BROKEN): Stage.FAILING,
    (Stage.STARTING, Event.DISMISSED): Stage.LEAVING,
    (Stage.STARTING, Event.EXITED): Stage.START_FAILED,
    (Stage.READY, Event.READY): Stage.READY,  # a greeting may be repeated
    (Stage.READY, Event.BROKEN): Stage.BREAKING,
    (Stage.READY, Event.DISMISSED): Stage.LEAVING,
    (Stage.READY, Event.EXITED): Stage.CRASHED,
    (Stage.FAILING, Event.READY): Stage.FAILING,  # too late: it is being ended
    (Stage.FAILING, Event.BROKEN): Stage.FAILING,
    (Stage.FAILING, Event.DISMISSED): Stage.FAILING,
    (Stage.FAILING, Event.EXITED): Stage.START_FAILED,
    (Stage.BREAKING, Event.READY): Stage.BREAKING,
    (Stage.BREAKING, Event.BROKEN): Stage.BREAKING,
    (Stage.BREAKING, Event.DISMISSED): Stage.BREAKING,  # it broke before it was asked
    (Stage.BREAKING, Event.EXITED): Stage.CRASHED,
    (Stage.LEAVING, Event.READY): Stage.LEAVING,
    (Stage.LEAVING, Event.BROKEN): Stage.LEAVING,  # closing its pipes is part of leaving
    (Stage.LEAVING, Event.DISMISSED): Stage.LEAVING,
    (Stage.LEAVING, Event.EXITED): Stage.LEFT,
}

#: Stages that nothing follows.
FINAL = frozenset((Stage.START_FAILED, Stage.CRASHED, Stage.LEFT))


def advance(stage: Stage, event: Event) -> Stage:
    """Return the stage after ``event``; RuntimeError where the process has ended already."""
    after = _TABLE.get((stage, event))
    if after is None:
        raise RuntimeError(f"{event.name} cannot happen to a process that is {stage.name}")
    return after


def unfinished(stage: Stage, reason: str) -> Crashed | Returned:
    """Return the outcome of a task without an answer whose process ended in ``stage``.

    Only a crash counts against the task: a process that never became ready has not seen it, and one that
    left was asked to.
    """
    return Crashed(reason) if stage is Stage.CRASHED else Returned(reason)
