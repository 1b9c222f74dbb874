"""Whether what a worker holds grows, from looks at it over time. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.bench.rig.stats import median


@dataclass(frozen=True)
class Look:
    """What was seen ``at_s`` seconds after the beginning: figures by name."""

    at_s: float
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Allowance:
    """By how much a figure may be higher in the end: a share of what it was, and so much on top."""

    share: float
    more: float


#: Memory settles; descriptors, greenlets and threads come and go one by one; keys wait for upkeep.
ALLOWED: Mapping[str, Allowance] = {
    "memory, MB": Allowance(0.05, 3),
    "descriptors": Allowance(0, 3),
    "greenlets": Allowance(0, 3),
    "threads": Allowance(0, 3),
    "keys": Allowance(0.2, 60),
    "memory of Redis, MB": Allowance(0.1, 1),
}
#: Of the looks, the first that do not count: caches fill, and lists of the last hundred of something.
WARM_SHARE = 0.25
#: Fewest looks that say something.
FEWEST = 8


@dataclass(frozen=True)
class Change:
    """A figure, its median early and late, and whether that is ``growth``."""

    name: str
    early: float
    late: float
    growth: bool


def judge(looks: Sequence[Look]) -> list[Change]:
    """Hold the first third of the looks that count against the last. ValueError for fewer than FEWEST."""
    if len(looks) < FEWEST:
        raise ValueError(f"{len(looks)} looks say nothing, expected at least {FEWEST}")
    counted = looks[int(len(looks) * WARM_SHARE) :]
    third = len(counted) // 3
    found = []
    for name, allowed in ALLOWED.items():
        early, late = (
            median([look.figures[name] for look in part]) for part in (counted[:third], counted[-third:])
        )
        most = early * (1 + allowed.share) + allowed.more
        found.append(Change(name, early, late, growth=late > most))
    return found
