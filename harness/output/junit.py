"""Test reports as CI services read them: JUnit's XML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from harness.output.terminal import printable


@dataclass(frozen=True)
class Case:
    """One test. At most one of ``failure``, ``skipped`` and ``remark`` says something; none: it passed.

    The first line of a text is its headline.
    """

    group: str
    name: str
    seconds: float
    failure: str = ""
    skipped: str = ""
    remark: str = ""


def write(path: Path, suite: str, cases: Sequence[Case], seconds: float) -> None:
    """Write ``cases`` as one suite that took ``seconds``."""
    root = ElementTree.Element(
        "testsuite",
        name=suite,
        tests=str(len(cases)),
        failures=str(sum(bool(case.failure) for case in cases)),
        skipped=str(sum(bool(case.skipped) for case in cases)),
        time=f"{seconds:.3f}",
    )
    for case in cases:
        element = ElementTree.SubElement(
            root, "testcase", classname=case.group, name=case.name, time=f"{case.seconds:.3f}"
        )
        if case.failure:
            text = printable(case.failure)
            failure = ElementTree.SubElement(element, "failure", message=text.partition("\n")[0])
            failure.text = text
        elif case.skipped:
            ElementTree.SubElement(element, "skipped", message=printable(case.skipped))
        elif case.remark:
            ElementTree.SubElement(element, "system-out").text = printable(case.remark)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
