"""How outcomes are shown: a line each, what failed in full, and files for machines."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

from harness.e2e.play import Outcome
from harness.report.model import Report, Section, Table
from harness.timeline import Event

_GREEN, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_MARGIN = "        "
_NAME_WIDTH = 34
_TERMINAL_WIDTH = 100


class Console:
    """Writes to ``out``: lines for everybody, a line that changes and colours for terminals."""

    def __init__(self, out: TextIO, total: int) -> None:
        self._out = out
        self._lively = out.isatty()
        self._coloured = self._lively and "NO_COLOR" not in os.environ
        self._total = total
        self._done = 0

    def say(self, text: str) -> None:
        """A line."""
        self._write(text)

    def progress(self, running: Sequence[str]) -> None:
        """What is being played."""
        if self._lively:
            text = f"… {self._done} of {self._total}: {', '.join(running)}"[:_TERMINAL_WIDTH]
            self._out.write(f"\r\x1b[K{self._paint(_DIM, text)}")
            self._out.flush()

    def ended(self, outcome: Outcome) -> None:
        """The line of one scenario, and under it why it failed."""
        self._done += 1
        verdict = self._paint(_GREEN, "ok  ") if outcome.passed else self._paint(_RED, "FAIL")
        name = f"{outcome.name:<{_NAME_WIDTH}}"
        self._write(f"{verdict}  {outcome.seconds:6.1f} s  {name}  {self._paint(_DIM, outcome.claim)}")
        if not outcome.passed:
            self._write(_indented(outcome.problem))
            if outcome.diagnosis:
                self._write(_indented(outcome.diagnosis))

    def _write(self, text: str) -> None:
        self._out.write(("\r\x1b[K" if self._lively else "") + text + "\n")
        # At once: a process that is forked with it in the buffer would write it again.
        self._out.flush()

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text


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
        tables=[Table("Scenarios", ("scenario", "verdict", "took", "claim"), rows)],
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
    suite = ElementTree.Element(
        "testsuite",
        name=f"runqy-harness e2e ({runtime})",
        tests=str(len(outcomes)),
        failures=str(sum(not outcome.passed for outcome in outcomes)),
        time=f"{seconds:.3f}",
    )
    for outcome in outcomes:
        group, _, name = outcome.name.partition("/")
        case = ElementTree.SubElement(
            suite, "testcase", classname=group, name=name, time=f"{outcome.seconds:.3f}"
        )
        if not outcome.passed:
            first = outcome.problem.partition("\n")[0]
            failure = ElementTree.SubElement(case, "failure", message=_printable(first))
            failure.text = _printable(f"{outcome.problem}\n{outcome.diagnosis}")
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _indented(text: str) -> str:
    return "\n".join(_MARGIN + _printable(line) for line in text.splitlines())


def _printable(text: str) -> str:
    """Workers print control characters; terminals obey them, and XML has no place for them."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
