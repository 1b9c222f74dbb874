"""Patches the standard library as ``python -m appliance`` does, before anything else is imported.

But for one thing, see :func:`_share_memory`.
"""

from appliance import patching

if problem := patching.patch():
    raise RuntimeError(problem)

import contextlib
import os
import signal
import subprocess
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest
from gevent import monkey
from gevent import os as gevent_os

from harness.failure import handlers_kept
from harness.sandbox.redis import NoTls

# An example that takes long says that the machine is busy, not that the code is wrong.
hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")

#: Arguments of gevent's ``Popen._execute_child``, by their places: stdin, stdout and stderr are the child's.
_PREEXEC_FN, _UNIVERSAL_NEWLINES, _PROCESS_GROUP = 2, 7, -1
_STREAMS = (11, 14, 16)


def _share_memory() -> None:
    """Have programs started without a copy of this process, where nothing of ours runs in between.

    gevent's ``subprocess`` forks, and the kernel then copies page tables: 4 to 25 ms of a processor, by the
    size of a lane, for each of six thousand programs. The standard library's shares memory with the child
    until it has become the program (``vfork``), which takes half a millisecond.
    """
    module: Any = subprocess
    original: Any = monkey.get_original("subprocess", "Popen")
    forking = module.Popen._execute_child

    def execute_child(self: Any, *arguments: Any) -> None:
        if arguments[_PREEXEC_FN] is not None:
            forking(self, *arguments)
            return
        self._loop.install_sigchld()
        for number, descriptor in enumerate(arguments[place] for place in _STREAMS):
            with contextlib.suppress(OSError):
                # As gevent has it: no program expects a standard stream that returns EAGAIN.
                os.set_blocking(number if descriptor == -1 else descriptor, True)
        # The original takes no universal_newlines.
        given = [*arguments[:_UNIVERSAL_NEWLINES], *arguments[_UNIVERSAL_NEWLINES + 1 :]]
        if given[_PROCESS_GROUP] is None:
            given[_PROCESS_GROUP] = -1
        original._execute_child(self, *given)
        # The loop has not turned since it was started: its end, if it came, is still to be seen.
        gevent_os.fork_and_watch(self._on_child, self._loop, True, lambda: self.pid)

    # gevent set the one to None, and has not got the other.
    module._fork_exec = monkey.get_original("subprocess", "_fork_exec")
    module.Popen._close_pipe_fds = original._close_pipe_fds
    module.Popen._execute_child = execute_child


_share_memory()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the user who runs it."""
    for name in list(os.environ):
        if name.startswith("RUNQY_"):
            monkeypatch.delenv(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Handlers that a command of the harness leaves behind, run in this process, go with the test.

    An interruption that the command took for its own was for all tests.
    """
    with handlers_kept() as before:
        done = yield
        taken = any(
            signal.getsignal(number) is signal.SIG_IGN is not handler for number, handler in before.items()
        )
    if taken:
        raise KeyboardInterrupt
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    """What needs a Redis with TLS is left out, and says so, where the only Redis has none."""
    with _without_tls_left_out():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """As :func:`pytest_runtest_setup`, of a Redis that the test itself starts."""
    with _without_tls_left_out():
        yield


@contextlib.contextmanager
def _without_tls_left_out() -> Generator[None]:
    try:
        yield
    except NoTls as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(exc))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever of these tests comes first builds the image, from nothing where need be."""
    for item in items:
        if item.get_closest_marker("image") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1500))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows how the logs of its workers end, and where all of them are."""
    report = yield
    world = getattr(item, "funcargs", {}).get("world")
    if report.failed and report.when == "call" and hasattr(report.longrepr, "addsection"):
        said = str(report.longrepr)
        for worker in getattr(world, "workers", ()):
            # What waited in vain has shown it already.
            if worker.tail() not in said:
                title = f"the log of {worker.name} ends (all: {worker.log_path})"
                report.longrepr.addsection(title, worker.tail())
    return report
