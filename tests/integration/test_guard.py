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
from tests.machine import gone

_STARTS_ONE = """
import subprocess, time
from harness.sandbox import guard
print(subprocess.Popen(guard.bound_to_us(["sleep", "1000"])).pid, flush=True)
time.sleep(1000)
"""
_PRINTS_WHAT_IT_IS_GIVEN = """
import os, subprocess, sys
from harness.sandbox import guard
given = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "WORD": "a b"}
given |= {"no.name": "x"} if sys.argv[1:] else {}
print(os.path.basename(guard.bound_to_us(["env"], given)[0]), flush=True)
subprocess.run(guard.bound_to_us(["env"], given), env=given, check=True)
"""
_ORPHANED = """
import os, subprocess
from harness.sandbox import guard
os.getpid = lambda: 1
raise SystemExit(subprocess.run(guard.bound_to_us(["sleep", "1000"])).returncode)
"""


@pytest.fixture(params=["setpriv", "busybox's setpriv", "no setpriv"])
def way(request: pytest.FixtureRequest) -> str:
    """What the machine has of setpriv."""
    return str(request.param)


@pytest.fixture
def environment(way: str, tmp_path: Path) -> dict[str, str]:
    """What a program of ours is started with there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "sleep", "env", "true", *(["setpriv"] if way == "setpriv" else [])):
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"there is no {program} here")
        (folder / program).symlink_to(found)
    if way == "busybox's setpriv":
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
    wait.until(lambda: gone(child), 20, "the program to be gone")


@pytest.mark.parametrize("more", [[], ["a name that no shell passes on"]], ids=["", "no.name"])
def test_it_gets_the_environment_it_was_given_and_no_more(
    environment: dict[str, str], more: list[str], way: str
) -> None:
    command = [sys.executable, "-c", _PRINTS_WHAT_IT_IS_GIVEN, *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    first, *lines = done.stdout.splitlines()
    assert first == ("setpriv" if way == "setpriv" and not more else Path(sys.executable).name)
    given = {
        "PATH=" + environment["PATH"],
        "LANG=C.UTF-8",
        "WORD=a b",
        *(["no.name=x"] if more else []),
    }
    # Bash as sh cannot be kept from saying what it becomes and how deep it is; Debian's sh says neither.
    assert {line for line in lines if not line.startswith(("_=", "SHLVL="))} == given


def test_one_whose_parent_was_gone_before_is_not_begun(environment: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", _ORPHANED], env=environment, check=False, timeout=60)
    assert done.returncode == 125
