"""Packages installed where others do the same: the real apt, on folders of the test's own."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.wait import until

PROGRAM = Path(__file__).parents[2] / ".ci" / "apt"

pytestmark = pytest.mark.skipif(
    any(shutil.which(needed) is None for needed in ("apt-get", "dpkg-deb", "flock")), reason="not Debian"
)

Install = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """The root of a system that has a repository with the package ``tiny``; dpkg notes what it was asked."""
    for folder in ("state/lists/partial", "cache/archives/partial", "dpkg", "run", "usr/sbin", "repository"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dpkg/status").touch()
    _publish_tiny(tmp_path)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{tmp_path}/repository ./\n")
    dpkg = tmp_path / "usr/sbin/dpkg"
    dpkg.write_text(f'#!/bin/sh\necho "$@" $(ls {dpkg.parent}) >>{tmp_path}/asked\n')
    dpkg.chmod(0o755)
    (tmp_path / "apt.conf").write_text(
        f'Dir::State "{tmp_path}/state";\nDir::State::status "{tmp_path}/dpkg/status";\n'
        f'Dir::Cache "{tmp_path}/cache";\nDir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        # The machine's own settings bring programs that are run before and after.
        'Dir::Etc::sourceparts "/dev/null";\nDir::Etc::parts "/dev/null";\nDir::Etc::main "/dev/null";\n'
        f'Dir::Bin::dpkg "{dpkg}";\nAPT::Sandbox::User "";\n'
    )
    return tmp_path


@pytest.fixture
def install(system: Path) -> Iterator[Install]:
    started: list[subprocess.Popen[str]] = []

    def start(package: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [PROGRAM, package],
            env={**os.environ, "APT_CONFIG": str(system / "apt.conf"), "APT_ROOT": str(system)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()
        program.wait()


@pytest.mark.parametrize("lock", ["state/lists/lock", "dpkg/lock-frontend", "cache/archives/lock"])
def test_another_program_that_has_a_lock_of_apts_is_waited_for(
    system: Path, install: Install, lock: str
) -> None:
    with _held(system / lock):
        program = install("tiny")
        said = _line(program)
        assert "waiting for another program" in said
        assert lock in said
        # What it installs meanwhile may start its services.
        assert not (system / "usr/sbin/policy-rc.d").exists()
    assert program.wait(300) == 0
    assert "tiny" in (system / "asked").read_text()


def test_two_clones_install_one_after_the_other(system: Path, install: Install) -> None:
    with _held(system / "state/lists/lock"):
        first = install("tiny")
        assert "waiting for another program" in _line(first)
        second = install("tiny")
        assert "waiting for another that installs" in _line(second)
    assert [first.wait(300), second.wait(300)] == [0, 0]
    # A service that a package brings would be started were the file missing, if only for the second.
    unpacked = [line for line in (system / "asked").read_text().splitlines() if "tiny.deb" in line]
    assert len(unpacked) == 2
    assert all("policy-rc.d" in line for line in unpacked)
    assert not (system / "usr/sbin/policy-rc.d").exists()


def test_lists_that_could_not_be_read_are_why_a_package_is_not_known(system: Path, install: Install) -> None:
    (system / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:1/ ./\n")
    program = install("tiny")
    said = program.communicate(timeout=300)[0]
    assert program.returncode == 1
    assert "Failed to fetch http://127.0.0.1:1/" in said
    assert "Unable to locate package tiny" in said


def test_what_is_wrong_beside_locks_is_said_at_once(system: Path, install: Install) -> None:
    program = install("no-such-package")
    assert "Unable to locate package no-such-package" in program.communicate(timeout=300)[0]
    assert program.returncode == 1
    assert not (system / "usr/sbin/policy-rc.d").exists()


def _publish_tiny(system: Path) -> None:
    control = (
        "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: us <us@example.org>\nDescription: x\n"
    )
    source = system / "tiny"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "DEBIAN/control").write_text(control)
    package = system / "repository/tiny.deb"
    subprocess.run(["dpkg-deb", "--build", source, package], check=True, capture_output=True)
    found = package.read_bytes()
    (system / "repository/Packages").write_text(
        f"{control}Filename: ./tiny.deb\nSize: {len(found)}\nSHA256: {hashlib.sha256(found).hexdigest()}\n"
    )


def _line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline()


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """apt's locks are POSIX ones: of a process, this test's."""
    with lock.open("w") as file:
        until(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB) is None, 10, f"{lock} to be free")
        yield
