"""The keys there may be: their names, types, and how long each may live.

Written from the protocol's description of Redis. What is not asynq's or the server's but the worker's own
is marked as such, with the reason why it is there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

DAY_S = 86_400


class Life(Enum):
    """How long a key may live, where that is no number of seconds."""

    FOR_EVER = "for ever"  # one with an end would take what is in it along
    EITHER = "either"  # another rule says
    ENDS = "ends"  # some time, but it must


@dataclass(frozen=True)
class Shape:
    """One kind of key; ``life`` is a :class:`Life`, or the most seconds it may live.

    ``ours`` says why there is a key that is neither asynq's nor the server's.
    """

    name: str
    pattern: str
    kind: str
    life: Life | int
    ours: str = ""


_Q = r"asynq:\{(?P<queue>.+?)\}:"
_DATE = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
#: Where a task can be, and in exactly one of them at every instant.
LISTS, SORTED_SETS = ("pending", "active"), ("scheduled", "retry", "completed", "archived")
PLACES = (*LISTS, *SORTED_SETS)
ENDED = ("completed", "archived")

SHAPES = (
    Shape("queues", r"asynq:queues", "set", Life.FOR_EVER),
    *(Shape(place, _Q + place, "list", Life.FOR_EVER) for place in LISTS),
    *(Shape(place, _Q + place, "zset", Life.FOR_EVER) for place in SORTED_SETS),
    Shape("lease", _Q + "lease", "zset", Life.FOR_EVER),
    # A pause may have an end.
    Shape("paused", _Q + "paused", "string", Life.EITHER),
    *(Shape(name, _Q + name, "string", Life.FOR_EVER) for name in ("processed", "failed")),
    Shape("day", _Q + rf"(?P<counter>processed|failed):(?P<day>{_DATE})", "string", 90 * DAY_S),
    Shape("task", _Q + r"t:(?P<id>.+)", "hash", Life.EITHER),
    # asynq takes a lock with an end, so that one whose task is lost is not there for good.
    Shape("lock", _Q + r"unique:.+", "string", Life.ENDS),
    Shape(
        "ended early",
        _Q + "ended_early",
        "zset",
        DAY_S,
        ours="tasks that ended before the server had stamped them, to be looked at again",
    ),
    Shape("lookup", r"asynq:t:(?P<id>.+)", "hash", Life.EITHER),
    Shape("workers", r"asynq:workers", "zset", Life.FOR_EVER),
    Shape("logs", r"asynq:workers:(?P<id>.+):logs", "list", 30),
    Shape("worker", r"asynq:workers:(?P<id>.+)", "hash", 30),
    Shape(
        "crashes",
        r"asynq:crashes:(?P<id>.+)",
        "list",
        7 * DAY_S,
        ours="why task processes crashed; not under asynq:workers:, since it outlives its worker",
    ),
)
_PATTERNS = tuple((shape, re.compile(shape.pattern, re.DOTALL)) for shape in SHAPES)

_TEXTS = ("msg", "state", "result", "error_msg", "unique_key", "group")
_STAMPS = ("ttl_completed", "ttl_archived", "pending_timeout", "active_timeout")
_TIMES = ("pending_since", "completed_at", "last_failed_at", "retried")
#: The form without a message.
_LEGACY_TEXTS, _LEGACY_NUMBERS = ("type", "payload"), ("retry", "max_retry", "timeout", "deadline")
#: Fields of the worker's own, and why.
OUR_FIELDS: Mapping[str, str] = {
    "owner": "half of the fence: the worker that has the task",
    "attempt": "half of the fence: counts the takes",
    "first_taken": "tells a task from a later one of the same id",
    "crashes": "how many of its runs ended because the task process crashed",
    "progress": "what task code said last of how far it is",
    "shelved": "it was archived by hand, and its hash given a lifetime",
    "failures": "when, where and why its last runs failed",
}
#: Fields of a task's hash that are asynq's or the server's.
FIELDS = frozenset((*_TEXTS, *_TIMES, *_STAMPS, *_LEGACY_TEXTS, *_LEGACY_NUMBERS))
#: Fields that are whole numbers, seconds most of them.
NUMBERS = (*_TIMES, *_STAMPS, *_LEGACY_NUMBERS, "attempt", "crashes")


def of(key: str) -> tuple[Shape, Mapping[str, str]] | None:
    """The shape of a key and the parts of its name (``queue``, ``id`` …); None for one that has none."""
    for shape, pattern in _PATTERNS:
        if match := pattern.fullmatch(key):
            return shape, match.groupdict()
    return None
