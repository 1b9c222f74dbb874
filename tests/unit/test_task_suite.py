"""What a suite's pytest.ini may say of its task code, and what a failed test shows."""

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.commands import test
from harness.testing import plugin
from harness.testing.reporting import line_of
from harness.testing.settings import NoSense, read
from harness.testing.task import Ended, TaskFailed

DEFAULTS = {name: default for name, _, default, _ in plugin.SETTINGS}


def settings(base: Path, **said: object) -> Any:
    values: Mapping[str, object] = {**DEFAULTS, **said}
    return read(lambda name: values[name], base)


def test_without_a_word_the_code_is_where_pytest_ini_is_and_runs_as_the_sdk_has_it(tmp_path: Path) -> None:
    found = settings(tmp_path)

    assert found.folder == tmp_path.resolve()
    queue = found.queue("git://there", "main")
    assert (queue.startup_cmd, queue.mode, queue.startup_timeout_secs) == (
        "python main.py",
        "long_running",
        60,
    )
    assert queue.vaults == {}


def test_what_is_said_counts_and_a_vault_entry_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    monkeypatch.setenv("TOKEN", "a=b")

    found = settings(
        tmp_path,
        runqy_folder="code",
        runqy_startup_cmd="python -m task",
        runqy_mode="one_shot",
        runqy_startup_timeout="5",
        runqy_vaults=["TOKEN", "URL = https://x?y=z"],
        runqy_worker=["RUNQY_CONCURRENCY=2"],
    )

    assert found.folder == (tmp_path / "code").resolve()
    queue = found.queue("git://there", "main")
    assert (queue.startup_cmd, queue.mode, queue.startup_timeout_secs) == ("python -m task", "one_shot", 5)
    assert queue.vaults == {"tests": {"TOKEN": "a=b", "URL": "https://x?y=z"}}
    assert found.worker == {"RUNQY_CONCURRENCY": "2"}
    assert "a=b" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("runqy_folder", "nowhere", "runqy_folder: 'nowhere': there is no folder "),
        ("runqy_mode", "oneshot", "runqy_mode: 'oneshot': expected long_running or one_shot"),
        ("runqy_startup_timeout", "1m", "runqy_startup_timeout: '1m': expected a whole number of seconds"),
        ("runqy_startup_timeout", "0", "runqy_startup_timeout: '0': expected a whole number of seconds"),
        ("runqy_startup_cmd", " ", "runqy_startup_cmd: it is empty"),
        ("runqy_vaults", ["2=secret"], "runqy_vaults: expected NAME=VALUE or NAME on each line"),
        ("runqy_vaults", ["NOT_THERE"], "runqy_vaults: NOT_THERE: this environment has no variable"),
        ("runqy_worker", ["CONCURRENCY=2"], "runqy_worker: 'CONCURRENCY=2': expected RUNQY_…=VALUE"),
        ("runqy_worker", ["RUNQY_CONCURRENCY"], "runqy_worker: 'RUNQY_CONCURRENCY': expected RUNQY_…=VALUE"),
    ],
)
def test_what_makes_no_sense_is_named_with_what_is_allowed_and_no_secret(
    tmp_path: Path, name: str, value: object, complaint: str
) -> None:
    with pytest.raises(NoSense) as found:
        settings(tmp_path, **{name: value})

    assert str(found.value).startswith(complaint)
    assert "secret" not in str(found.value)


def test_the_result_of_a_task_that_failed_is_its_error() -> None:
    failed = Ended("1", "archived", "no such luck", 3, None)

    with pytest.raises(TaskFailed, match="the task failed, it is archived: no such luck"):
        _ = failed.result

    assert Ended("1", "completed", "", 0, None).result is None


def test_the_command_becomes_pytest_in_the_folder_and_no_secret_is_an_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[Sequence[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: became.append([program, *words]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task").mkdir()
    # What the command sets is gone after the test.
    monkeypatch.setattr(os, "environ", dict(os.environ))

    test.run(["task", "--mode", "one_shot", "--vault", "TOKEN=b7Kq", "--vault", "URL=x=y", "--", "-k", "a"])

    ((program, *words),) = became
    assert program == words[0] == sys.executable
    assert words[1:] == [
        *("-m", "pytest", "-p", "runqy_harness"),
        *("--override-ini", "runqy_mode=one_shot", "--override-ini", "runqy_vaults=TOKEN\nURL"),
        *("-k", "a"),
    ]
    assert Path.cwd() == tmp_path / "task"
    assert (os.environ["TOKEN"], os.environ["URL"]) == ("b7Kq", "x=y")


def test_without_pytest_the_command_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert cli.run(["test"]) == 2

    assert "runqy-harness test: the package pytest is missing; pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({"event": "process.output", "level": "info", "text": "hello", "pid": 1}, "hello"),
        ({"event": "task.completed", "level": "info", "task_id": "1"}, ""),
        (
            {"event": "process.crashed", "level": "warning", "timestamp": "…", "pid": 7, "exit": "SIGKILL"},
            "process.crashed exit=SIGKILL",
        ),
    ],
)
def test_a_failed_test_shows_output_and_trouble(event: Mapping[str, Any], shown: str) -> None:
    assert line_of(event) == shown
