"""What was measured, as a flat list: whose figure, which, at how many slots, each repetition's value."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.bench.rig import stats

#: The names of our worker and of the task process driven without one.
OURS, PIPE = "runqy-appliance", "task process alone"


@dataclass(frozen=True)
class Figure:
    """``at`` is a concurrency, or what else the figure depends on; None where there is nothing such."""

    who: str
    what: str
    at: int | None
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the repetitions."""
        return stats.median(self.values)


class Figures:
    """All of a run; values are added repetition by repetition."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, int | None], list[float]] = {}

    def add(self, who: str, what: str, *values: float, at: int | None = None) -> None:
        """One more value, or several."""
        self._values.setdefault((who, what, at), []).extend(values)

    def get(self, who: str, what: str, at: int | None = None) -> Figure | None:
        """A figure; None where it was not measured."""
        values = self._values.get((who, what, at))
        return Figure(who, what, at, tuple(values)) if values else None

    def median(self, who: str, what: str, at: int | None = None) -> float | None:
        """The same, without the repetitions."""
        found = self.get(who, what, at)
        return found.median if found else None

    def best(self, what: str, among: Sequence[str], ats: Sequence[int]) -> Figure | None:
        """The highest median of ``what`` among these workers at any of these concurrencies."""
        found = [figure for who in among for at in ats if (figure := self.get(who, what, at))]
        return max(found, key=lambda figure: figure.median, default=None)

    def __iter__(self) -> Iterator[Figure]:
        for (who, what, at), values in self._values.items():
            yield Figure(who, what, at, tuple(values))

    def as_json(self) -> list[dict[str, Any]]:
        """For ``--json``."""
        return [
            {"who": f.who, "what": f.what, "at": f.at, "median": f.median, "values": list(f.values)}
            for f in self
        ]
