"""The pytest plugin in suites beside our own: what tests can do to task code; other suites notice nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.commands import init
from tests.integration.program import left_in

#: For a busy machine; a session takes a few seconds.
TIMEOUT_S = 800

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)


class Suite:
    """A folder with tests, run as their author runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "suite"
        self.folder.mkdir()
        self._temporary = folder / "tmp"
        self._temporary.mkdir()

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.py").write_text(text)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self._temporary)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def leftovers(self) -> list[str]:
        """Files and processes of a run that is over."""
        return left_in(self._temporary)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


ONE_SHOT_TESTS = """
import time
from pathlib import Path

MAIN = Path(__file__).parents[1] / "main.py"


def test_a_task_whose_process_is_killed_is_charged_and_done_again(runqy, crash):
    task = runqy.enqueue({"text": "one two", "wait": True})
    while not any(event.get("text") == "waiting" for event in runqy.events()):
        time.sleep(0.05)
    crash()
    ended = task.ended()
    assert (ended.state, ended.retried) == ("completed", 1)


def test_new_code_comes_with_a_restart(send, restart):
    MAIN.write_text(MAIN.read_text().replace('"words":', '"count":'))
    restart()
    assert send({"text": "one two"}).result["count"] == 2


def test_a_vault_entry_is_there(send):
    assert send({"text": "x", "variable": "TOKEN"}).result["variable"] == "from the environment"


def test_that_fails(send):
    assert send({"text": "one two three four"}).result["count"] == 7
"""


def test_a_new_one_shot_project_passes_by_pytest_alone_and_its_tests_may_do_more(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a project as it was written, but for a task that waits at its first attempt and shows a variable
    assert init.run([str(suite.folder), "--mode", "one_shot"]) == 0
    main = suite.folder / "main.py"
    main.write_text(
        main.read_text()
        .replace(
            "    words = [",
            '    if payload.get("wait") and not os.path.exists("begun"):\n'
            '        open("begun", "w").close()\n'
            '        print("waiting")\n'
            "        time.sleep(600)\n"
            "    words = [",
        )
        .replace('{"words":', '{"variable": os.environ.get(payload.get("variable", "")), "words":')
        .replace("\nfrom runqy_python", "\nimport os\nimport time\n\nfrom runqy_python", 1)
    )
    first = (suite.folder / "tests" / "test_task.py").read_text().replace(".result ==", ".result.items() >=")
    (suite.folder / "tests" / "test_task.py").write_text(
        first.replace('"wonderful"}', '"wonderful"}.items()')
    )
    (suite.folder / "tests" / "test_with_more.py").write_text(ONE_SHOT_TESTS)
    with (suite.folder / "pytest.ini").open("a") as settings:
        settings.write("runqy_vaults = TOKEN\n")
    monkeypatch.setenv("TOKEN", "from the environment")

    # when
    done = suite.run()

    # then all pass but the one that must not, which shows what the task printed, and nothing of before
    assert done.returncode == 1, done.stdout + done.stderr
    assert " 1 failed, 6 passed" in done.stdout, done.stdout
    _, _, shown = done.stdout.partition("runqy: task code and worker")
    assert "4 words" in shown
    assert "3 words" not in shown
    assert suite.leftovers() == []


def test_code_that_does_not_start_is_told_with_what_is_missing(suite: Suite) -> None:
    suite.write(main="import yaml\n", test_it="def test_a(send): ...\ndef test_b(crash): ...\n")

    done = suite.run()

    assert done.returncode == 1
    assert " 2 errors" in done.stdout
    assert "module yaml is not installed (main.py, line 1).\nAdd PyYAML to requirements.txt." in done.stdout
    # in a few lines, for each test (on a busy machine of another start, too), and without the plugin's frames
    assert done.stdout.count('  File "main.py", line 1, in <module>') in (2, 4)
    assert len(done.stdout.splitlines()) < 60
    assert "harness/testing" not in done.stdout
    assert suite.leftovers() == []


def test_a_setting_that_makes_no_sense_is_told_before_anything_is_started(suite: Suite) -> None:
    suite.write(test_it="def test_a(send): ...\n")
    (suite.folder / "pytest.ini").write_text("[pytest]\nrunqy_mode = oneshot\n")

    done = suite.run()

    assert done.returncode == 1
    assert "runqy: runqy_mode: 'oneshot': expected long_running or one_shot" in done.stdout


FOREIGN = """
import sys

import pytest


@pytest.fixture
def send():
    return "my own"


def test_my_fixture_is_mine(send):
    assert send == "my own"


def test_nothing_was_imported_for_me():
    ours = {name for name in sys.modules if name.partition(".")[0] in {"harness", "appliance"}}
    assert ours == {"harness", "harness.testing", "harness.testing.plugin"}
    assert not {"gevent", "httpx", "redis", "yaml", "runqy_python"} & set(sys.modules)


def test_nothing_is_called_for_me(pytestconfig):
    plugin = pytestconfig.pluginmanager.get_plugin("runqy_harness")
    hooks = [caller.name for caller in pytestconfig.pluginmanager.get_hookcallers(plugin)]
    assert hooks == ["pytest_addoption"]
"""


def test_a_suite_that_has_nothing_to_do_with_runqy_notices_nothing(suite: Suite) -> None:
    suite.write(test_foreign=FOREIGN)

    # Other plugins of this environment import much; ours is the only one here.
    done = suite.run("-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:docker")

    assert done.returncode == 0, done.stdout
    assert " 3 passed" in done.stdout
