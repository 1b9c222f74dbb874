"""How tests start programs, see ``tests/conftest.py``: as gevent does, but for the copy of this process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
import gevent.os
import gevent.subprocess
import pytest


@pytest.fixture(autouse=True)
def no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    def forked(*_: object) -> int:
        pytest.fail("this process was copied")

    monkeypatch.setattr(gevent.subprocess, "fork_and_watch", forked)


def test_a_program_is_given_what_was_asked_for(tmp_path: Path) -> None:
    says = (
        "import os, sys; print(os.getcwd(), os.environ['A'], sys.stdin.read(), os.getsid(0) == os.getpid())"
    )

    done = subprocess.run(
        [sys.executable, "-Sc", says],
        cwd=tmp_path,
        env={"A": "b"},
        input="c",
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )

    assert done.stdout.split() == [str(tmp_path), "b", "c", "True"]


def test_what_it_is_not_given_stays_closed_to_it() -> None:
    inside, outside = os.pipe()
    passed = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(inside, True)
    try:
        done = subprocess.run(
            ["ls", "/proc/self/fd"], capture_output=True, text=True, check=True, pass_fds=[passed]
        )
    finally:
        for each in (inside, outside, passed):
            os.close(each)

    assert str(inside) not in done.stdout.split()
    assert str(passed) in done.stdout.split()


@pytest.mark.parametrize(("line", "status"), [("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM)])
def test_its_end_is_known(line: str, status: int) -> None:
    assert subprocess.run(line, shell=True, check=False, timeout=60).returncode == status


def test_one_that_has_ended_before_it_is_watched_is_seen_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = gevent.os.fork_and_watch

    def late(*arguments: Any) -> None:
        # Without a turn of the loop, as in starting; it stays to be waited for.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        watch(*arguments)

    monkeypatch.setattr(gevent.os, "fork_and_watch", late)
    assert subprocess.Popen(["true"]).wait(60) == 0


def test_its_standard_streams_wait() -> None:
    # The end of a pipe that is here does not, and goes on to the next program.
    with subprocess.Popen(["sh", "-c", "sleep 0.2; echo late"], stdout=subprocess.PIPE) as first:
        done = subprocess.run(
            ["cat"], stdin=first.stdout, capture_output=True, text=True, check=False, timeout=60
        )
    assert (done.stdout, done.stderr) == ("late\n", "")


def test_who_waits_for_it_lets_others_run() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        gevent.spawn(process.stdin.close)
        assert process.wait(60) == 0


def open_now() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_what_cannot_be_started_says_so_and_leaves_nothing_open() -> None:
    before = open_now()

    with pytest.raises(FileNotFoundError, match="no-such-program"):
        subprocess.Popen(["no-such-program"], stdout=subprocess.PIPE)
    with pytest.raises(NotADirectoryError):
        subprocess.Popen(["true"], cwd="/dev/null", stdout=subprocess.PIPE)

    assert open_now() == before


def test_where_something_of_ours_is_to_be_run_in_between_it_is_a_copy() -> None:
    with pytest.raises(pytest.fail.Exception, match="was copied"):
        subprocess.Popen(["true"], preexec_fn=os.getpid)  # noqa: PLW1509
