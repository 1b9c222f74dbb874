"""Who gets no processor, by the kernel's own account of real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from harness import wait
from harness.evidence.starvation import Starvation, waited_s
from harness.sandbox import guard

_BUSY = "os.sched_setscheduler(0, {policy}, os.sched_param(0))\nprint('up', flush=True)\nwhile True: pass"
# On a busy machine one that woke up now and then would wait for its turn each time.
_IDLE = "import time\nprint('up', flush=True)\ntime.sleep(100_000)"


@pytest.fixture
def crowd() -> Iterator[dict[str, int]]:
    """On one processor: one that always wants it, one that gets it when no other does, and an idle one."""
    processor = min(os.sched_getaffinity(0))
    scripts = {
        "first": _BUSY.format(policy="os.SCHED_OTHER"),
        "last": _BUSY.format(policy="os.SCHED_IDLE"),
        "idle": _IDLE,
    }
    started = {
        name: subprocess.Popen(
            guard.bound_to_us(
                [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{processor}}})\n{script}"]
            ),
            stdout=subprocess.PIPE,
        )
        for name, script in scripts.items()
    }
    try:
        for process in started.values():
            # Until it is up the idle one wants the processor like the others.
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
        idle = psutil.Process(started["idle"].pid)
        wait.until(lambda: idle.status() == psutil.STATUS_SLEEPING, 60, "the idle one to sleep")
        yield {name: process.pid for name, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
            process.communicate()


def test_a_process_that_gets_no_processor_is_told_from_one_that_wants_none(crowd: dict[str, int]) -> None:
    if not waited_s(crowd["first"]):
        pytest.skip("this kernel does not say how long processes wait for a processor")
    with Starvation(window_s=2.0) as starvation:
        starvation.watch(crowd)
        wait.until(
            lambda: any(each.target == "last" for each in starvation.troubles),
            60,
            "the last one to be starved",
        )
        troubles = starvation.troubles
    assert "idle" not in {each.target for each in troubles}
    assert all(each.ended_s - each.began_s >= 2.0 for each in troubles)


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    assert waited_s(4194305) == 0.0
