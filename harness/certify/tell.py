"""How findings are told: a line each and advice for people, files for machines."""

import json
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from harness.certify.finding import CheckResult, Judged
from harness.evidence.report import write
from harness.evidence.report.model import Report, Section, Table
from harness.evidence.timeline import Event
from harness.output import junit
from harness.output.terminal import PLAIN_WIDTH, Style, Terminal, printable

_STYLES = {
    CheckResult.PASS: Style.GOOD,
    CheckResult.WARN: Style.WARNING,
    CheckResult.FAIL: Style.BAD,
    CheckResult.SKIPPED: Style.ASIDE,
}
_SIGNS = {CheckResult.PASS: "✓", CheckResult.WARN: "!", CheckResult.FAIL: "✗", CheckResult.SKIPPED: "-"}
_NAME_WIDTH = 17
_MARGIN = " " * (_NAME_WIDTH + 2)


class Console:
    """Writes to ``out``; colours and the line that changes are for terminals only."""

    def __init__(self, out: TextIO, what: str) -> None:
        self._terminal = Terminal(out)
        self._terminal.line(self._terminal.strong(f"Certifying {printable(what)}"))
        self._terminal.line()

    def begins(self, name: str, did: str) -> None:
        """What is being done."""
        self._terminal.transient(f"… {name:<{_NAME_WIDTH}}{did}")

    def ended(self, judged: Judged) -> None:
        """A check's line, and under it the advice."""
        finding = judged.finding
        sign = self._terminal.paint(_STYLES[finding.result], _SIGNS[finding.result])
        first, *rest = self._folded(finding.seen)
        self._terminal.line(f"{sign} {judged.name:<{_NAME_WIDTH}}{first}")
        for line in rest:
            self._terminal.line(_MARGIN + line)
        more = f"{finding.advice} See {finding.page}." if finding.page else finding.advice
        for line in self._folded(more) if more else ():
            self._terminal.line(_MARGIN + self._terminal.aside(line))

    def closing(self, judged: Sequence[Judged]) -> None:
        """The last line."""
        result = CheckResult.PASS if certified(judged) else CheckResult.FAIL
        self._terminal.line()
        sign = self._terminal.paint(_STYLES[result], _SIGNS[result])
        self._terminal.line(f"{sign} {self._terminal.strong(summary(judged))}")

    def _folded(self, text: str) -> list[str]:
        width = max(20, min(PLAIN_WIDTH, self._terminal.width) - len(_MARGIN))
        return [
            part
            for line in printable(text).splitlines()
            for part in textwrap.wrap(line, width, break_on_hyphens=False) or [""]
        ] or [""]


def certified(judged: Sequence[Judged]) -> bool:
    """Whether no check failed."""
    return all(each.finding.result is not CheckResult.FAIL for each in judged)


def summary(judged: Sequence[Judged]) -> str:
    """The last line."""
    counts = Counter(each.finding.result for each in judged)
    told = {
        "passed": CheckResult.PASS,
        "to look at": CheckResult.WARN,
        "failed": CheckResult.FAIL,
        "skipped": CheckResult.SKIPPED,
    }
    parts = ", ".join(f"{counts[result]} {word}" for word, result in told.items() if counts[result])
    took_s = sum(each.seconds for each in judged)
    return f"{'certified' if certified(judged) else 'not certified'}: {parts}, in {took_s:.0f} s"


def write_json(path: Path, judged: Sequence[Judged]) -> None:
    """Every finding."""
    document = {
        "certified": certified(judged),
        "checks": [
            {
                "name": each.name,
                "did": each.did,
                "result": str(each.finding.result),
                "seen": each.finding.seen,
                "advice": each.finding.advice,
                "page": each.finding.page,
                "seconds": round(each.seconds, 3),
            }
            for each in judged
        ],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def write_junit(path: Path, judged: Sequence[Judged]) -> None:
    """As CI services read it."""
    cases = [_case(each) for each in judged]
    junit.write(path, "runqy-harness certify", cases, sum(case.seconds for case in cases))


def _case(each: Judged) -> junit.Case:
    seen, advice = each.finding.seen, each.finding.advice
    case = junit.Case("certify", each.name, each.seconds)
    match each.finding.result:
        case CheckResult.FAIL:
            return replace(case, failure=f"{seen}\n{advice}")
        case CheckResult.SKIPPED:
            return replace(case, skipped=seen)
        case _:
            return replace(case, remark=f"{seen}\n{advice}" if advice else "")


def write_report(folder: Path, judged: Sequence[Judged], events: Sequence[Event], log: str) -> list[str]:
    """A page for people, and the worker's log beside it; returns what to say of it."""
    problems = [
        f"{each.name}: {each.finding.seen}\n{each.finding.advice}"
        for each in judged
        if each.finding.result is CheckResult.FAIL
    ]
    section = Section(
        title="The run",
        claim="the worker and its task process, with the checks as they were made",
        passed=certified(judged),
        seconds=sum(each.seconds for each in judged),
        events=events,
        problem="\n".join(problems),
    )
    rows = [(each.name, str(each.finding.result), each.finding.seen, each.finding.advice) for each in judged]
    report = Report(
        title="runqy-harness certify",
        summary=summary(judged),
        made_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        sections=[section],
        tables=[Table("Checks", ("check", "result", "seen", "advice"), rows)],
    )
    said = list(write.write(report, folder))
    (folder / "worker.log").write_text(log)
    return said
