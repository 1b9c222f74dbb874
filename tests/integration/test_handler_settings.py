"""Handlers on their own, as programs: their settings are checked, and their diaries can be read."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.evidence.diary import Diary
from harness.sandbox.handlers import handler_files

TASK = {"task_id": "t1", "type": "k", "payload": {}, "retry_count": 0, "max_retry": 3, "queue": "q.default"}


def run(folder: Path, name: str, *tasks: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a handler until its input ends."""
    folder.mkdir(exist_ok=True)
    for path, text in handler_files(name).items():
        (folder / path).write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDLER_")}
    return subprocess.run(
        [sys.executable, "main.py"],
        cwd=folder,
        env={**environment, **env},
        input="".join(json.dumps(task) + "\n" for task in tasks),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("name", "variable", "value", "allowed"),
    [
        ("raw_sleep", "HANDLER_SECONDS", "-1", "seconds, such as 1.5"),
        ("crash_after_tasks", "HANDLER_TASKS", "0", "a whole number, 1 or more"),
        ("crash_after_tasks", "HANDLER_TASKS", "many", "a whole number, 1 or more"),
        ("crash_before_ready", "HANDLER_DEATH", "SIGNOTHING", "an exit status from 0 to 255, or a signal"),
        ("crash_before_ready", "HANDLER_DEATH", "256", "an exit status from 0 to 255, or a signal"),
        ("not_a_number", "HANDLER_NUMBER", "17", "one of NaN, Infinity, -Infinity"),
        ("raw_echo", "HANDLER_DIARY", "diary.jsonl", "stderr or the absolute path of a file"),
    ],
)
def test_a_setting_that_makes_no_sense_ends_the_handler_with_name_value_and_what_is_allowed(
    tmp_path: Path, name: str, variable: str, value: str, allowed: str
) -> None:
    done = run(tmp_path, name, TASK, **{variable: value})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{variable} is {value!r}: expected {allowed}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("status", "death"), [(7, "7"), (0, "0"), (-9, "SIGKILL"), (-6, "SIGABRT")])
def test_a_handler_dies_the_death_it_is_told(tmp_path: Path, status: int, death: str) -> None:
    assert run(tmp_path, "crash_before_ready", HANDLER_DEATH=death).returncode == status


@pytest.mark.parametrize("name", ["echo", "raw_echo", "one_shot"])
def test_a_diary_has_what_the_process_did_and_when(tmp_path: Path, name: str) -> None:
    path = tmp_path / "diary.jsonl"
    began_wall_ns, began_mono_ns = time.time_ns(), time.monotonic_ns()
    run(tmp_path / "code", name, TASK, HANDLER_DIARY=str(path))
    diary = Diary.of_file(path)
    assert [(entry.event, entry.task_id) for entry in diary.entries] == [
        ("start", None),
        ("ready", None),
        ("begin", "t1"),
        ("end", "t1"),
        ("exit", None),
    ]
    assert began_wall_ns < diary.entries[0].wall_ns < diary.entries[-1].wall_ns < time.time_ns()
    assert began_mono_ns < diary.entries[0].mono_ns < diary.entries[-1].mono_ns < time.monotonic_ns()
    assert len(diary.pids) == 1
    assert (diary.begun, diary.ended) == ({"t1": 1}, {"t1": 1})


def test_processes_share_a_diary(tmp_path: Path) -> None:
    path = tmp_path / "diary.jsonl"
    for number in range(2):
        run(tmp_path / "code", "raw_echo", {**TASK, "task_id": f"t{number}"}, HANDLER_DIARY=str(path))
    diary = Diary.of_file(path)
    assert diary.begun == {"t0": 1, "t1": 1}
    assert len(diary.pids) == 2


@pytest.mark.parametrize("name", ["error", "raw_error"])
def test_the_end_of_a_task_that_failed_says_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / "diary.jsonl"
    task = {**TASK, "payload": {"message": "no such model"}}
    run(tmp_path / "code", name, task, HANDLER_DIARY=str(path))
    (end,) = Diary.of_file(path).of("end")
    assert "no such model" in end.more["error"]


def test_a_diary_on_stderr_is_read_from_any_log_that_has_it(tmp_path: Path) -> None:
    done = run(tmp_path, "echo", TASK, HANDLER_DIARY="stderr")
    lines = done.stderr.splitlines()
    assert all(line.startswith("DIARY {") for line in lines)
    log = ["something else", *(f"12:00 worker: {line}" for line in lines), "DIARY of a madman"]
    events = [{"event": "process.output", "text": line} for line in lines] + [{"event": "process.ready"}]
    diary = Diary.of_lines(log)
    assert [entry.event for entry in diary.entries] == ["start", "ready", "begin", "end", "exit"]
    assert Diary.of_events(events) == diary


def test_without_the_variable_there_is_no_diary(tmp_path: Path) -> None:
    assert run(tmp_path, "echo", TASK).stderr == ""


def test_a_file_that_is_no_diary_is_refused_and_an_entry_half_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "diary.jsonl"
    assert Diary.of_file(path) == Diary()
    run(tmp_path / "code", "raw_echo", HANDLER_DIARY=str(path))
    whole = Diary.of_file(path)
    path.write_text(path.read_text() + '{"event": "begin", "task_id"')
    assert Diary.of_file(path) == whole
    path.write_text('{"event": "begin"}\n')
    with pytest.raises(ValueError, match="no entry of a diary"):
        Diary.of_file(path)
