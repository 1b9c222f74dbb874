"""Who gets no processor, by the kernel's own account of real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from harness import wait
from harness.evidence.starvation import Starvation, waited_s

_BUSY = "import os\nos.sched_setscheduler(0, {policy}, os.sched_param(0))\nwhile True: pass"


@pytest.fixture
def crowd() -> Iterator[dict[str, int]]:
    """On one processor: two that always want it, one of them only when no other does, and an idle one."""
    processor = min(os.sched_getaffinity(0))
    scripts = {
        "first": _BUSY.format(policy="os.SCHED_OTHER"),
        "last": _BUSY.format(policy="os.SCHED_IDLE"),
        "idle": "import time\nwhile True: time.sleep(0.05)",
    }
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{processor}}})\n{script}"]
        )
        for name, script in scripts.items()
    }
    yield {name: process.pid for name, process in started.items()}
    for process in started.values():
        process.kill()
        process.wait()


def test_a_process_that_gets_no_processor_is_told_from_one_that_wants_none(crowd: dict[str, int]) -> None:
    with Starvation(window_s=0.5) as starvation:
        starvation.watch(crowd)
        wait.until(
            lambda: any(each.target == "last" for each in starvation.troubles),
            60,
            "the last one to be starved",
        )
        troubles = starvation.troubles
    assert {each.target for each in troubles} <= {"first", "last"}
    assert all(each.ended_s - each.began_s >= 0.5 for each in troubles)


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    assert waited_s(4194305) == 0.0
