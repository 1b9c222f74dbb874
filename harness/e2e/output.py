"""How outcomes are shown: a line each, what failed in full, and files for machines."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from harness.e2e.play import Outcome
from harness.evidence.report.model import Report, Section, Table
from harness.evidence.timeline import Event
from harness.output import junit
from harness.output.terminal import Terminal, printable

_MARGIN = "        "
_NAME_WIDTH = 34


class Console:
    """Writes to ``out``: lines for everybody, a line that changes and colours for terminals."""

    def __init__(self, out: TextIO, total: int) -> None:
        self._terminal = Terminal(out)
        self._total = total
        self._done = 0

    def say(self, text: str) -> None:
        """A line."""
        self._terminal.line(text)

    def progress(self, running: Sequence[str]) -> None:
        """What is being played."""
        self._terminal.transient(f"… {self._done} of {self._total}: {', '.join(running)}")

    def ended(self, outcome: Outcome) -> None:
        """The line of one scenario, and under it why it failed."""
        self._done += 1
        result = self._terminal.good("ok  ") if outcome.passed else self._terminal.bad("FAIL")
        name = f"{outcome.name:<{_NAME_WIDTH}}"
        self._terminal.line(
            f"{result}  {outcome.seconds:6.1f} s  {name}  {self._terminal.aside(outcome.claim)}"
        )
        if not outcome.passed:
            self._terminal.line(_indented(outcome.problem))
            if outcome.diagnosis:
                self._terminal.line(_indented(outcome.diagnosis))


def summary(outcomes: Sequence[Outcome], runtime: str, seconds: float) -> str:
    """The last line."""
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    what = f"{len(outcomes)} played on the {runtime} runtime in {seconds:.0f} s"
    return f"{what}: {len(failed)} failed ({', '.join(failed)})" if failed else f"{what}: all ok"


def report(outcomes: Sequence[Outcome], runtime: str, seconds: float) -> Report:
    """The same for people, with what happened in each scenario."""
    sections = [
        Section(
            title=outcome.name,
            claim=outcome.claim,
            passed=outcome.passed,
            seconds=outcome.seconds,
            events=[Event.from_json(each) for each in outcome.timeline],
            problem="\n".join(part for part in (outcome.problem, outcome.diagnosis) if part),
            again=f"runqy-harness e2e --runtime {runtime} --only {outcome.name.partition(' ')[0]}",
        )
        for outcome in outcomes
    ]
    rows = [
        (
            outcome.name,
            "ok" if outcome.passed else "FAIL",
            f"{outcome.seconds:.1f} s",
            outcome.claim,
        )
        for outcome in outcomes
    ]
    return Report(
        title="runqy-harness e2e",
        summary=summary(outcomes, runtime, seconds),
        made_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        sections=sections,
        tables=[Table("Scenarios", ("scenario", "result", "took", "claim"), rows)],
    )


def write_json(path: Path, outcomes: Sequence[Outcome], runtime: str, seconds: float) -> None:
    """Everything, timelines included."""
    document = {
        "runtime": runtime,
        "passed": all(outcome.passed for outcome in outcomes),
        "seconds": round(seconds, 3),
        "scenarios": [vars(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def write_junit(path: Path, outcomes: Sequence[Outcome], runtime: str, seconds: float) -> None:
    """As CI services read it."""
    cases = [
        junit.Case(group, name, outcome.seconds, failure=_failure(outcome))
        for outcome in outcomes
        for group, _, name in [outcome.name.partition("/")]
    ]
    junit.write(path, f"runqy-harness e2e ({runtime})", cases, seconds)


def _failure(outcome: Outcome) -> str:
    return "" if outcome.passed else f"{outcome.problem}\n{outcome.diagnosis}"


def _indented(text: str) -> str:
    return "\n".join(_MARGIN + printable(line) for line in text.splitlines())
