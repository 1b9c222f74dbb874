"""How findings are told: a line each and advice for people, files for machines."""

import json
import os
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

from harness.certify.finding import Judged, Verdict
from harness.report import write
from harness.report.model import Report, Section, Table
from harness.timeline import Event

_COLOURS = {
    Verdict.PASS: "\x1b[32m",
    Verdict.WARN: "\x1b[33m",
    Verdict.FAIL: "\x1b[31m",
    Verdict.SKIPPED: "\x1b[2m",
}
_SIGNS = {Verdict.PASS: "✓", Verdict.WARN: "!", Verdict.FAIL: "✗", Verdict.SKIPPED: "-"}
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_NAME_WIDTH = 17
_MARGIN = " " * (_NAME_WIDTH + 2)
_WIDTH = 110


class Console:
    """Writes to ``out``; colours and the line that changes are for terminals only."""

    def __init__(self, out: TextIO, what: str) -> None:
        self._out = out
        self._lively = out.isatty()
        self._coloured = self._lively and "NO_COLOR" not in os.environ
        self._write(self._paint(_BOLD, f"Certifying {_printable(what)}"))
        self._write("")

    def begins(self, name: str, did: str) -> None:
        """What is being done."""
        if self._lively:
            self._out.write(f"\r\x1b[K{self._paint(_DIM, f'… {name:<{_NAME_WIDTH}}{did}'[:_WIDTH])}")
            self._out.flush()

    def ended(self, judged: Judged) -> None:
        """A check's line, and under it the advice."""
        finding = judged.finding
        sign = self._paint(_COLOURS[finding.verdict], _SIGNS[finding.verdict])
        first, *rest = _folded(finding.seen)
        self._write(f"{sign} {judged.name:<{_NAME_WIDTH}}{first}")
        for line in rest:
            self._write(_MARGIN + line)
        more = f"{finding.advice} See {finding.page}." if finding.page else finding.advice
        for line in _folded(more) if more else ():
            self._write(_MARGIN + self._paint(_DIM, line))

    def closing(self, judged: Sequence[Judged]) -> None:
        """The verdict."""
        verdict = Verdict.PASS if certified(judged) else Verdict.FAIL
        self._write("")
        self._write(
            f"{self._paint(_COLOURS[verdict], _SIGNS[verdict])} {self._paint(_BOLD, summary(judged))}"
        )

    def _write(self, line: str) -> None:
        self._out.write(("\r\x1b[K" if self._lively else "") + line + "\n")
        self._out.flush()

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text


def certified(judged: Sequence[Judged]) -> bool:
    """Whether no check failed."""
    return all(each.finding.verdict is not Verdict.FAIL for each in judged)


def summary(judged: Sequence[Judged]) -> str:
    """The last line."""
    counts = Counter(each.finding.verdict for each in judged)
    told = {
        "passed": Verdict.PASS,
        "to look at": Verdict.WARN,
        "failed": Verdict.FAIL,
        "skipped": Verdict.SKIPPED,
    }
    parts = ", ".join(f"{counts[verdict]} {word}" for word, verdict in told.items() if counts[verdict])
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
                "verdict": str(each.finding.verdict),
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
    verdicts = Counter(each.finding.verdict for each in judged)
    suite = ElementTree.Element(
        "testsuite",
        name="runqy-harness certify",
        tests=str(len(judged)),
        failures=str(verdicts[Verdict.FAIL]),
        skipped=str(verdicts[Verdict.SKIPPED]),
        time=f"{sum(each.seconds for each in judged):.3f}",
    )
    for each in judged:
        case = ElementTree.SubElement(
            suite, "testcase", classname="certify", name=each.name, time=f"{each.seconds:.3f}"
        )
        seen, advice = _printable(each.finding.seen), _printable(each.finding.advice)
        if each.finding.verdict is Verdict.FAIL:
            ElementTree.SubElement(
                case, "failure", message=seen.partition("\n")[0]
            ).text = f"{seen}\n{advice}"
        elif each.finding.verdict is Verdict.SKIPPED:
            ElementTree.SubElement(case, "skipped", message=seen)
        elif advice:
            ElementTree.SubElement(case, "system-out").text = f"{seen}\n{advice}"
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def write_report(folder: Path, judged: Sequence[Judged], events: Sequence[Event], log: str) -> list[str]:
    """A page for people, and the worker's log beside it; returns what to say of it."""
    problems = [
        f"{each.name}: {each.finding.seen}\n{each.finding.advice}"
        for each in judged
        if each.finding.verdict is Verdict.FAIL
    ]
    section = Section(
        title="The run",
        claim="the worker and its task process, with the checks as they were made",
        passed=certified(judged),
        seconds=sum(each.seconds for each in judged),
        events=events,
        problem="\n".join(problems),
    )
    rows = [(each.name, str(each.finding.verdict), each.finding.seen, each.finding.advice) for each in judged]
    report = Report(
        title="runqy-harness certify",
        summary=summary(judged),
        made_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        sections=[section],
        tables=[Table("Checks", ("check", "verdict", "seen", "advice"), rows)],
    )
    said = list(write.write(report, folder))
    (folder / "worker.log").write_text(log)
    return said


def _folded(text: str) -> list[str]:
    width = _WIDTH - len(_MARGIN)
    return [
        part
        for line in _printable(text).splitlines()
        for part in textwrap.wrap(line, width, break_on_hyphens=False) or [""]
    ] or [""]


def _printable(text: str) -> str:
    """Task code prints control characters; terminals obey them, and XML has no place for them."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
