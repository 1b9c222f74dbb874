"""``runqy-harness demo``, end to end: what it claims, that it can fail, and that it leaves nothing."""

import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.program import program

#: Its own limit is 60 s after installation; the machine of the tests has other things to do.
TIMEOUT_S = 800

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)

#: A worker that prints what the task process has in its vault: what the demo must not let pass.
INDISCREET = """
import subprocess, sys, time, psutil
worker = subprocess.Popen([sys.executable, "-m", "appliance"])
while worker.poll() is None:
    for process in psutil.Process(worker.pid).children(recursive=True):
        try:
            print(process.environ().get("DEMO_SECRET"), flush=True)
        except psutil.Error:
            pass
    time.sleep(0.05)
"""


def test_it_shows_the_main_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with program(tmp_path / "run", "demo") as demo:
        status = demo.process.wait(TIMEOUT_S)
        leftovers = demo.leftovers()

    said = demo.said()
    assert status == 0, said
    assert leftovers == []
    assert demo.err == ""
    assert "\x1b" not in demo.out
    proved = [line.strip() for line in demo.out.splitlines() if "✓" in line]
    for claim in (
        r"✓ Redis answers on port \d+, the server on http://127\.0\.0\.1:\d+",
        r"✓ registered, deployed and running, at commit [0-9a-f]{7}",
        r"✓ 200 sent, 200 completed, every answer checked: \d+ tasks/s",
        r"✓ DEMO_SECRET is in its environment: sha256 [0-9a-f]{12}… agrees",
        r"✓ its value is in none of the \d+ lines of the log, nor in an argument list",
        r"✓ process \d+ took over; the task was retried once and succeeded",
        r"✓ the 20 tasks around it are completed, none was charged a retry",
        r"✓ the task finished; the worker ended after \d+\.\d s, exit status 0",
        r"✓ 223 tasks sent = 223 completed, lost 0; \d+ s in all",
    ):
        assert any(re.match(claim, line) for line in proved), f"{claim} is not in\n{said}"
    assert re.search(r"process \d+ died: SIGSEGV", demo.out), said


def test_a_worker_that_does_not_start_makes_it_fail_with_the_workers_last_words(tmp_path: Path) -> None:
    worker = "sh -c 'echo no such luck >&2; exit 7'"
    with program(tmp_path / "run", "demo", "--worker", worker) as demo:
        status = demo.process.wait(TIMEOUT_S)
        leftovers = demo.leftovers()

    assert status == 1
    assert leftovers == []
    assert "✗ worker-1 ended with exit status 7 while waiting for the worker to deploy" in demo.out
    assert "no such luck" in demo.out
    assert "tasks sent" not in demo.out


def test_task_code_that_fails_makes_it_fail_with_the_reason_and_the_log(tmp_path: Path) -> None:
    with program(tmp_path / "run", "demo", "--handler", "error") as demo:
        status = demo.process.wait(TIMEOUT_S)
        leftovers = demo.leftovers()

    assert status == 1, demo.said()
    assert leftovers == []
    assert "ValueError: as told" in demo.out
    assert "The worker's log ends:" in demo.out
    assert "task.archived" in demo.out


def test_a_worker_that_tells_the_secret_makes_it_fail_without_telling_it_too(tmp_path: Path) -> None:
    script = tmp_path / "indiscreet.py"
    script.write_text(INDISCREET)
    worker = shlex.join((sys.executable, str(script)))
    with program(tmp_path / "run", "demo", "--worker", worker) as demo:
        status = demo.process.wait(TIMEOUT_S)
        leftovers = demo.leftovers()

    assert status == 1, demo.said()
    assert leftovers == []
    assert "✗ the value of DEMO_SECRET is in the worker's log" in demo.out
    assert not re.search(r"^\s*[0-9a-f]{32}$", demo.out, re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_while_it_deploys_it_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    with program(tmp_path / "run", "demo") as demo:
        demo.shows("registered; the server told it of Redis", 60)

        status = demo.end(number, 30)

        assert status == 128 + number, demo.said()
        assert demo.leftovers() == []
    assert "what was started is gone" in demo.out
