"""What a report is made from: one run's sections, each with its timeline, and tables beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.evidence.timeline import Event


@dataclass(frozen=True)
class Table:
    """A table; every row has a cell for each of the ``heads``."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """One scenario of the run: what was claimed, whether it held, and what happened meanwhile.

    ``problem`` is why it failed, empty where it did not; ``again`` the command that runs it once more.
    """

    title: str
    claim: str
    passed: bool
    seconds: float
    events: Sequence[Event] = ()
    problem: str = ""
    again: str = ""


@dataclass(frozen=True)
class Report:
    """A whole run. ``made_at`` is a date and time for people."""

    title: str
    summary: str
    made_at: str
    sections: Sequence[Section] = ()
    tables: Sequence[Table] = ()

    @property
    def passed(self) -> bool:
        """Whether all of it held."""
        return all(section.passed for section in self.sections)
