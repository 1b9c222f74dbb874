"""The end of ``runqy-harness dev``: a signal ends it between two steps."""

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from harness.dev.live import session
from harness.failure import Interrupted, handlers_kept, on_interruption


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    with handlers_kept():
        # Also where nohup runs the tests: what it has ignored stays ignored.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        yield


def _raise(number: int, _: object) -> None:
    raise Interrupted(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_step_is_never_left_in_its_middle(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    # given the command line's own handler, which would raise anywhere
    on_interruption(_raise)
    done: list[str] = []

    class Steps:
        def __init__(self, *_: object) -> None:
            pass

        def begin(self) -> None:
            done.append("begun")

        def step(self) -> None:
            os.kill(os.getpid(), number)
            done.append("stepped")

        def end(self) -> None:
            done.append("ended")

    monkeypatch.setattr(session, "Session", Steps)
    monkeypatch.setattr(session, "Rig", lambda _: nullcontext())
    monkeypatch.setattr(session, "Watching", lambda _: nullcontext())
    options: Any = SimpleNamespace(folder=None, payload=None)

    with pytest.raises(Interrupted) as interrupted:
        session.run(StringIO(), options)

    assert interrupted.value.number == number
    assert done == ["begun", "stepped", "ended"]


def test_a_command_that_is_to_survive_its_terminal_does() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    on_interruption(_raise)

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is _raise
