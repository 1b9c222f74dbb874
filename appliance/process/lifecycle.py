"""The life of one task process as a table, and what its end means for the tasks it held.

Rules:

- A process that ends, or that we have to end, before it is ready has failed to start.
- One that ends afterwards without our asking has crashed, whatever its exit status. One that we have to
  end because it cannot work any more (it closed a pipe) has crashed as well.
- One that we ask to leave (stop, replacement, a one-shot process after its answer) has left, however
  it goes about it. Once asked it stays asked: what it does on its way out is no crash.
"""

from enum import Enum, auto

from appliance.process.work import Died, Returned


class Stage(Enum):
    """Where one process stands; the last three are final."""

    STARTING = auto()
    READY = auto()
    FAILING = auto()  # being ended: it did not get ready
    BREAKING = auto()  # being ended: it was ready and cannot work any more
    LEAVING = auto()  # being ended by our own wish
    START_FAILED = auto()
    CRASHED = auto()
    LEFT = auto()


class Turn(Enum):
    """What can happen to it."""

    READY = auto()  # it said that it is ready
    BROKEN = auto()  # it refused to start, took too long to, or closed a pipe
    DISMISSED = auto()  # we ask it to leave
    EXITED = auto()


_TABLE: dict[tuple[Stage, Turn], Stage] = {
    (Stage.STARTING, Turn.READY): Stage.READY,
    (Stage.STARTING, Turn.BROKEN): Stage.FAILING,
    (Stage.STARTING, Turn.DISMISSED): Stage.LEAVING,
    (Stage.STARTING, Turn.EXITED): Stage.START_FAILED,
    (Stage.READY, Turn.READY): Stage.READY,
    (Stage.READY, Turn.BROKEN): Stage.BREAKING,
    (Stage.READY, Turn.DISMISSED): Stage.LEAVING,
    (Stage.READY, Turn.EXITED): Stage.CRASHED,
    (Stage.FAILING, Turn.READY): Stage.FAILING,  # too late: it is being ended
    (Stage.FAILING, Turn.BROKEN): Stage.FAILING,
    (Stage.FAILING, Turn.DISMISSED): Stage.FAILING,
    (Stage.FAILING, Turn.EXITED): Stage.START_FAILED,
    (Stage.BREAKING, Turn.READY): Stage.BREAKING,
    (Stage.BREAKING, Turn.BROKEN): Stage.BREAKING,
    (Stage.BREAKING, Turn.DISMISSED): Stage.BREAKING,
    (Stage.BREAKING, Turn.EXITED): Stage.CRASHED,
    (Stage.LEAVING, Turn.READY): Stage.LEAVING,
    (Stage.LEAVING, Turn.BROKEN): Stage.LEAVING,
    (Stage.LEAVING, Turn.DISMISSED): Stage.LEAVING,
    (Stage.LEAVING, Turn.EXITED): Stage.LEFT,
}

#: Stages that nothing follows.
FINAL = frozenset((Stage.START_FAILED, Stage.CRASHED, Stage.LEFT))


def advance(stage: Stage, turn: Turn) -> Stage:
    """The stage after ``turn``; RuntimeError where the process has ended already."""
    after = _TABLE.get((stage, turn))
    if after is None:
        raise RuntimeError(f"{turn.name} cannot happen to a process that is {stage.name}")
    return after


def unfinished(stage: Stage, reason: str) -> Died | Returned:
    """What becomes of a task without an answer whose process ended in ``stage``.

    Only a crash is held against it: a process that never became ready has not seen it, and one that
    left was asked to.
    """
    return Died(reason) if stage is Stage.CRASHED else Returned(reason)
