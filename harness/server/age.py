"""The two ages of the runqy server that people run, and what differs between them. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

#: How long a reverse lookup lives on the newer server, in seconds.
LOOKUP_TTL_S = 30 * 86_400
#: What asynq's client writes into a message that names no time limit, in seconds.
ASYNQ_TIMEOUT_S = 1_800


class Age(StrEnum):
    """Which server: the main branch of March 2026, or the one after it."""

    OLDER = "older"
    NEWER = "newer"


@dataclass(frozen=True)
class Rules:
    """What one age does.

    ``limits``: whether a queue's limits (retries, lifetimes, time limits) count, and are stamped on the task.
    ``batch_timeout_s``: the time limit of a batch that names none; 0 leaves it to asynq's client.
    ``lookup_ttl_s``: how long a reverse lookup lives; None is for ever.
    ``negative_timeouts``: whether a negative time limit is written as it came instead of as none.
    ``instances``: whether the list of workers shows ``instance_id`` and ``protected``.
    """

    limits: bool
    batch_timeout_s: int
    lookup_ttl_s: int | None
    negative_timeouts: bool
    instances: bool


RULES: Mapping[Age, Rules] = {
    Age.OLDER: Rules(
        limits=False, batch_timeout_s=30, lookup_ttl_s=None, negative_timeouts=True, instances=False
    ),
    Age.NEWER: Rules(
        limits=True, batch_timeout_s=0, lookup_ttl_s=LOOKUP_TTL_S, negative_timeouts=False, instances=True
    ),
}
