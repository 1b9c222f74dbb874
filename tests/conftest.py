"""Patches the standard library as ``python -m appliance`` does, before anything else is imported."""

from appliance import patching

if problem := patching.patch():
    raise RuntimeError(problem)

import contextlib
import os
import signal
from collections.abc import Generator

import hypothesis
import pytest

from harness.sandbox.redis import NoTls

# An example that takes long says that the machine is busy, not that the code is wrong.
hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")


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
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    done = yield
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN is not before[number]]
    for number, handler in before.items():
        signal.signal(number, handler)
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
