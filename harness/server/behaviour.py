"""What a test or a command may say about how the server behaves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.server.age import Age
from harness.server.writes import Write

#: A JSON object.
Json = dict[str, Any]
LONG_POLL_S = 30.0


def _nothing(_: object) -> None:
    return None


def _as_it_is(answer: Json) -> Json:
    return answer


@dataclass(frozen=True)
class Behaviour:
    """How the server behaves.

    ``write_delay_s`` passes before each step of writing a task but the first (see
    :class:`~harness.server.writes.Write`), after ``before_write`` was called with the step.
    ``before_register`` is called with the queue's name before a worker gets its answer, and
    ``alter_registration`` with the answer, to give what is sent instead. ``long_poll_s`` is how long
    ``?wait=true`` waits.
    """

    age: Age = Age.NEWER
    write_delay_s: float = 0.0
    before_write: Callable[[Write], None] = _nothing
    before_register: Callable[[str], None] = _nothing
    alter_registration: Callable[[Json], Json] = _as_it_is
    long_poll_s: float = LONG_POLL_S
