"""Everything that can become of one task, as values. Pure.

The names carry the budget rule of the design: *Failed*, *Crashed*, *Lapsed* and *TimedOut* spend one of the
task's retries, *Returned* spends none.
"""

from typing import NamedTuple

from appliance.values import value_class


# A tuple, as is whatever is made for every task: compared and hashed several times faster than a value.
class Succeeded(NamedTuple):
    """The process answered without an error; ``result`` is JSON."""

    result: bytes


@value_class(slots=True)
class Failed:
    """The process answered with an error; ``retry`` is the answer's own flag."""

    error: str
    retry: bool


@value_class(slots=True)
class Crashed:
    """The process ended unasked while the task was in flight."""

    reason: str


@value_class(slots=True)
class Lapsed:
    """The task's lease ran out: the worker that ran it died, or was cut off from Redis."""

    reason: str


@value_class(slots=True)
class TimedOut:
    """The task ran into its time limit or its deadline; a process that still runs it is being replaced."""

    reason: str


@value_class(slots=True)
class Cancelled:
    """An operator asked for the task to end."""

    reason: str


@value_class(slots=True)
class Returned:
    """The task has no outcome, and that is not its fault: it goes back to the queue uncharged."""

    reason: str


Outcome = Succeeded | Failed | Crashed | Lapsed | TimedOut | Cancelled | Returned
