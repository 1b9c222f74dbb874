"""The pytest plugin ``runqy_harness``: a suite's own task code, run by a worker, as fixtures.

pytest loads it into every suite of an environment that has the harness, most of which have nothing to do
with runqy. So it imports nothing but pytest, and has no hook but the one that names its settings, until a
test asks for a fixture. A suite's own fixtures of these names win.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.testing.runqy import Runqy
    from harness.testing.task import Ended

#: The settings: name, kind and default as pytest has them, and what they are.
SETTINGS: Sequence[tuple[str, Any, Any, str]] = (
    ("runqy_folder", "string", "", "folder with the task code, from where pytest.ini is (default: there)"),
    ("runqy_startup_cmd", "string", "python main.py", "what starts the task process"),
    ("runqy_mode", "string", "long_running", "long_running or one_shot"),
    ("runqy_startup_timeout", "string", "60", "seconds that the task process may take to become ready"),
    ("runqy_vaults", "linelist", [], "vault entries: NAME=VALUE, or NAME for this environment's value"),
    ("runqy_worker", "linelist", [], "the worker's settings: RUNQY_…=VALUE, such as RUNQY_CONCURRENCY=2"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Name the settings that may stand in a suite's pytest.ini."""
    for name, kind, default, what in SETTINGS:
        parser.addini(name, f"task code on runqy: {what}", kind, default)


@pytest.fixture(scope="session")
def runqy(request: pytest.FixtureRequest) -> Iterator["Runqy"]:
    """A server, a Redis and a worker that runs the suite's task code, from the first test that asks until
    the session's end."""
    # Only now: what a test does not need costs it nothing.
    from harness.testing.reporting import Reporter  # noqa: PLC0415
    from harness.testing.runqy import CannotStart, Runqy  # noqa: PLC0415
    from harness.testing.settings import NoSense, read  # noqa: PLC0415

    config = request.config
    problem = ""
    try:
        settings = read(config.getini, config.inipath.parent if config.inipath else config.rootpath)
        running = Runqy(settings)
        running.start()
    except (CannotStart, NoSense) as exc:
        problem = str(exc)
    if problem:
        # Not from within: its cause would be shown beside it, and says the same.
        pytest.fail(f"runqy: {problem}", pytrace=False)
    reporter = Reporter(running)
    config.pluginmanager.register(reporter)
    try:
        yield running
    finally:
        config.pluginmanager.unregister(reporter)
        running.stop()


@pytest.fixture
def send(runqy: "Runqy") -> Callable[..., "Ended"]:
    """``send(payload)`` sends a task and returns how it ended: ``.result``, ``.error``, ``.state``."""
    return runqy.send


@pytest.fixture
def crash(runqy: "Runqy") -> Callable[[], None]:
    """``crash()`` kills the task process, and returns when the next one is ready."""
    return runqy.crash


@pytest.fixture
def restart(runqy: "Runqy") -> Callable[[], None]:
    """``restart()`` stops the worker and starts it again, with the folder's content as it is now."""
    return runqy.restart
