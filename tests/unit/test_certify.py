"""Judging task code: what Python says is missing, when a process hangs, and what many tasks show."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.certify import manners
from harness.certify.answering import growth
from harness.certify.diagnosis import diagnose
from harness.certify.finding import CheckResult
from harness.certify.hang import Hangs, StartWatch, TaskWatch
from harness.sandbox.runtimes.docker import DockerRuntime


def stderr_of(folder: Path, source: str | None) -> list[str]:
    """What this interpreter prints of a program that a worker has cloned."""
    code = folder / "deployment" / "inference"
    code.mkdir(parents=True)
    if source is not None:
        (code / "main.py").write_text(source)
    argv = [sys.executable, "-I", str(code / "main.py")]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stderr.splitlines()


@pytest.mark.parametrize(
    ("source", "seen", "what_to_do"),
    [
        ("import sklearnx.svm", "module sklearnx is not installed (main.py, line 1)", "Add sklearnx to req"),
        (
            "\ndef f(:\n  pass",
            "Python does not understand the code: invalid syntax (main.py, line 2)",
            "line 2",
        ),
        (
            "def f():\npass",
            "expected an indented block after function definition on line 1",
            "Correct main.py",
        ),
        (
            "import json\njson.load(open('a b.bin'))",
            "there is no file a b.bin (main.py, line 2)",
            ".gitignore",
        ),
        ("from json import looads", "json has no looads (main.py, line 1)", "Another version of json"),
        (None, "the start command names main.py, which is not in the code", "--startup-cmd"),
    ],
    ids=["module", "syntax", "indentation", "file", "name", "program"],
)
def test_what_python_says_is_missing_is_told_with_the_place_and_what_to_add(
    tmp_path: Path, source: str | None, seen: str, what_to_do: str
) -> None:
    found = diagnose(stderr_of(tmp_path, source))

    assert found is not None
    assert seen in found.seen
    assert what_to_do in found.what_to_do
    assert str(tmp_path) not in found.seen + found.what_to_do


@pytest.mark.parametrize(
    ("words", "seen", "what_to_do"),
    [
        ("@load failed: No module named 'cv2'", "module cv2 is not installed", "opencv-python-headless"),
        (
            "a line of 80000065 bytes was dropped: at most 67108864 are read",
            "longer than 64 MiB",
            "return where",
        ),
    ],
)
def test_the_last_words_of_a_task_say_it_too(words: str, seen: str, what_to_do: str) -> None:
    found = diagnose((), words)

    assert found is not None
    assert seen in found.seen
    assert what_to_do in found.what_to_do


def test_any_other_error_is_left_as_it_is_and_the_last_known_one_counts(tmp_path: Path) -> None:
    caught = "try:\n  import nomodule\nexcept ImportError:\n  open('model.bin')"

    assert diagnose(stderr_of(tmp_path, "raise ValueError('no')")) is None
    found = diagnose(stderr_of(tmp_path / "two", caught))
    assert found is not None
    assert found.seen == "there is no file model.bin (main.py, line 4)"


def test_a_task_hangs_when_a_process_has_it_for_too_long_and_not_while_others_end() -> None:
    watch = TaskWatch(20)

    # No process has one: it starts, or the worker is busy.
    for now_s in range(0, 100, 10):
        watch.look(now_s, 2, at_work=False)
    for now_s in range(100, 120, 10):
        watch.look(now_s, 2, at_work=True)
    # One ends.
    for now_s in range(120, 141, 10):
        watch.look(now_s, 1, at_work=True)

    with pytest.raises(Hangs, match="within 20 s"):
        watch.look(150, 1, at_work=True)


def test_all_that_has_ended_does_not_hang() -> None:
    watch = TaskWatch(1)

    for now_s in range(0, 100, 10):
        watch.look(now_s, 0, at_work=True)


def test_a_start_hangs_when_nothing_is_done_and_only_where_that_can_be_seen() -> None:
    watch, blind = StartWatch(15), StartWatch(15)

    for now_s in range(0, 100, 10):
        watch.look(now_s, ("busy", now_s))
        blind.look(now_s, None)
    watch.look(105, ("busy", 90))

    with pytest.raises(Hangs, match="did nothing for 15 s"):
        watch.look(106, ("busy", 90))


@pytest.mark.parametrize(
    ("resident_mb", "result"),
    [
        ((50, 50, 50), CheckResult.PASS),
        ((50, 150, 250), CheckResult.FAIL),
        # A cache that was filled.
        ((50, 140, 141), CheckResult.WARN),
        ((50, 62, 75), CheckResult.WARN),
    ],
)
def test_memory_that_grows_with_every_task_is_a_leak(resident_mb: Sequence[int], result: CheckResult) -> None:
    used = [(megabytes * 1_000_000, 7) for megabytes in resident_mb]

    assert growth("100 tasks", 100, used).result is result


def test_a_few_tasks_have_to_leak_more_than_chance_may() -> None:
    # 2 MB in each half of 6 tasks would be 67 MB per 100.
    used: list[Any] = [(50_000_000, 7), (52_000_000, 7), (54_000_000, 7)]

    assert growth("6 tasks", 6, used).result is CheckResult.WARN


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("fetching https://********@host/x?n=1&token=********", False),
        ("TOKEN=********", True),
        ("https://********@host ********", True),
        ("nothing", False),
    ],
)
def test_the_mask_of_an_address_is_no_vaults_value(line: str, masked: bool) -> None:
    assert manners._is_masked(line) is masked


def test_a_container_gets_what_reaches_package_indexes_and_no_names_of_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {
        "PIP_INDEX_URL": "https://pip.test",
        "UV_INDEX_COMPANY_PASSWORD": "uv",
        "POETRY_HTTP_BASIC_COMPANY_PASSWORD": "poetry",
        "HTTPS_PROXY": "http://proxy.test",
        "no_proxy": "git.test",
        "RUNQY_INSTALLER": "pip",
    }
    of_this_machine = {"PIP_CERT": "/a.pem", "SSL_CERT_FILE": "/a.pem", "PIP_CONFIG_FILE": "/pip.conf"}
    monkeypatch.setattr(os, "environ", given | of_this_machine | {"HOME": "/root"})

    assert DockerRuntime().settings(tmp_path) == given
