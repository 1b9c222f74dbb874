"""What a failed test shows beside its own words: what the task code printed, and what went wrong."""

from collections.abc import Generator, Mapping
from typing import Any

import pytest

from harness.testing.runqy import Runqy

#: Of many lines only the last are shown.
_MOST_LINES = 60
#: In each event, and of no use to a test's author.
_EVERYWHERE = frozenset({"timestamp", "level", "event", "logger", "worker_id", "parent", "pid"})

#: True of the machine, whatever the task does.
_NEVER_TOLD = frozenset({"isolation.lacking"})


class Reporter:
    """A plugin of a session in which a worker runs."""

    def __init__(self, runqy: Runqy) -> None:
        self._runqy = runqy
        # The test that starts the worker shows its start, too.
        self._mark = 0

    @pytest.hookimpl
    def pytest_runtest_logstart(self) -> None:
        """A test begins."""
        self._mark = self._runqy.mark()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A part of a test is over."""
        report = yield
        if report.failed and "runqy" in getattr(item, "fixturenames", ()):
            lines = [
                self._runqy.near(line) for event in self._runqy.events(self._mark) if (line := line_of(event))
            ]
            left_out = len(lines) - _MOST_LINES
            shown = [f"… {left_out} lines before"] if left_out > 0 else []
            shown += lines[-_MOST_LINES:]
            if shown:
                report.sections.append(("runqy: task code and worker", "\n".join(shown)))
        return report


def line_of(event: Mapping[str, Any]) -> str:
    """An event for people; empty for one that is none of their business."""
    if event.get("event") == "process.output":
        return str(event["text"])
    if event.get("level") not in {"warning", "error", "critical"} or event.get("event") in _NEVER_TOLD:
        return ""
    told = " ".join(f"{name}={value}" for name, value in event.items() if name not in _EVERYWHERE)
    return f"{event['event']} {told}"
