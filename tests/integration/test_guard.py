"""No program that the harness starts outlives it, with util-linux' setpriv and without."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness import wait

_STARTS_ONE = """
import subprocess, time
from harness.sandbox import guard
print(subprocess.Popen(guard.bound_to_us(["sleep", "1000"])).pid, flush=True)
time.sleep(1000)
"""
_ORPHANED = """
import os, subprocess
from harness.sandbox import guard
os.getpid = lambda: 1
raise SystemExit(subprocess.run(guard.bound_to_us(["sleep", "1000"])).returncode)
"""


@pytest.fixture(params=["setpriv", "busybox's setpriv", "no setpriv"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """What a program of ours is started with, where that is the machine's setpriv."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "sleep", "true", *(["setpriv"] if request.param == "setpriv" else [])):
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"there is no {program} here")
        (folder / program).symlink_to(found)
    if request.param == "busybox's setpriv":
        (folder / "setpriv").write_text("#!/bin/sh\necho \"setpriv: unrecognized option '$1'\" >&2; exit 1\n")
        (folder / "setpriv").chmod(0o755)
    return {"PATH": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_program_dies_with_the_one_that_started_it_and_has_its_own_pid(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", _STARTS_ONE]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            child = psutil.Process(int(parent.stdout.readline()))
            wait.until(lambda: child.name() == "sleep", 20, "the program to be what was asked for")
        finally:
            os.kill(parent.pid, signal.SIGKILL)
    wait.until(lambda: not child.is_running(), 20, "the program to be gone")


def test_one_whose_parent_was_gone_before_is_not_begun(environment: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", _ORPHANED], env=environment, check=False, timeout=60)
    assert done.returncode == 125
