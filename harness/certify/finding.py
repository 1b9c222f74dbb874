"""What a check came to."""

from dataclasses import dataclass
from enum import StrEnum


class CheckResult(StrEnum):
    """How task code did. A warning is no reason to withhold the certificate."""

    PASS = "pass"  # noqa: S105  no password
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Advice:
    """What is wrong, what to do about it, and the page that says more."""

    seen: str
    what_to_do: str
    page: str


@dataclass(frozen=True)
class Finding:
    """What was seen, and for its author what to do about it and the page that says more."""

    result: CheckResult
    seen: str
    advice: str = ""
    page: str = ""


@dataclass(frozen=True)
class Judged:
    """A check's finding, with the check's name, what was done, and the seconds that took."""

    name: str
    did: str
    finding: Finding
    seconds: float


def passed(seen: str) -> Finding:
    """Nothing to complain about."""
    return Finding(CheckResult.PASS, seen)


def warned(seen: str, advice: str, page: str = "docs/task-process.md") -> Finding:
    """It works, but its author should know."""
    return Finding(CheckResult.WARN, seen, advice, page)


def failed(seen: str, advice: str, page: str = "docs/task-process.md") -> Finding:
    """In production this would go wrong."""
    return Finding(CheckResult.FAIL, seen, advice, page)


def skipped(why: str) -> Finding:
    """It could not be judged."""
    return Finding(CheckResult.SKIPPED, why)
