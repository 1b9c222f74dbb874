"""What `dev` shows: tasks and what they print, whole at any width, colours only where they are wanted."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyte
import pytest

from harness.dev.live import inputs, syntax
from harness.dev.live.hearing import RESULT_S, Hearing
from harness.dev.live.log_tail import LogTail
from harness.dev.live.summary import Summary
from harness.dev.live.tell import Teller, files, took
from harness.failure import CommandFailed
from harness.output.terminal import Terminal, json_line, wrapped
from harness.queue import asynq

TASK = "6f1c2e9a-1111-4222-8333-444455556666"
Q = "inference.default"


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Hashes:
    """Redis, as far as hashes go."""

    def __init__(self, **hashes: dict[str, str]) -> None:
        self._hashes = {asynq.task_key(Q, TASK): fields for fields in hashes.values()}

    def hgetall(self, key: str) -> dict[bytes, bytes]:
        return {name.encode(): value.encode() for name, value in self._hashes.get(key, {}).items()}


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("LINES", "24")
    return lambda number: monkeypatch.setenv("COLUMNS", str(number))


def teller(out: io.StringIO) -> Teller:
    return Teller(Terminal(out), lambda: "12:03:11")


def shown(out: io.StringIO, columns: int) -> list[str]:
    """What an independent terminal emulator shows."""
    screen = pyte.Screen(columns, 40)
    pyte.Stream(screen).feed(out.getvalue().replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display if line.strip()]


def a_run(out: io.StringIO) -> None:
    telling = teller(out)
    telling.printed("loading", "stdout", "")
    telling.printed("a word " * 15 + "more", "stderr", TASK)
    telling.completed(TASK, 0.312, '{"echo": "éééééééééé"}')
    telling.failed(TASK, 1.5, "failed for good", "Traceback:\n  File main.py\nValueError: no")


def test_at_eighty_columns_ids_are_short_and_what_is_long_goes_on_below_itself(columns: Any) -> None:
    columns(80)
    out = _Tty()

    a_run(out)

    assert shown(out, 80) == [
        "12:03:11            │ loading",
        "12:03:11  6f1c2e9a  │ a word a word a word a word a word a word a word a word",
        "                      a word a word a word a word a word a word a word more",
        '12:03:11  6f1c2e9a  ✓ 312 ms  {"echo": "éééééééééé"}',
        "12:03:11  6f1c2e9a  ✗ 1.5 s  failed for good",
        "                      Traceback:",
        "                        File main.py",
        "                      ValueError: no",
    ]


def test_where_there_is_room_ids_are_whole(columns: Any) -> None:
    columns(200)
    out = _Tty()

    a_run(out)

    lines = shown(out, 200)
    assert lines[1] == f"12:03:11  {TASK}  │ {'a word ' * 15}more"
    assert {line.index(mark) for line in lines[:4] for mark in "│✓✗" if mark in line} == {48}


def test_what_is_no_terminal_gets_whole_lines_without_colours() -> None:
    out = io.StringIO()

    a_run(out)

    assert "\x1b" not in out.getvalue()
    assert f"12:03:11  {TASK}  │ {'a word ' * 15}more\n" in out.getvalue()


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False), ("", False)])
def test_colours_are_for_terminals_that_want_them(
    columns: Any, monkeypatch: pytest.MonkeyPatch, no_color: str | None, coloured: bool
) -> None:
    columns(80)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    out = _Tty()

    a_run(out)

    assert ("\x1b[32m✓\x1b[0m" in out.getvalue()) is coloured
    assert ("\x1b[31m✗\x1b[0m" in out.getvalue()) is coloured
    assert ("\x1b[3" in out.getvalue()) is coloured


def test_no_terminal_obeys_what_a_task_prints(columns: Any) -> None:
    columns(80)
    out = _Tty()

    teller(out).printed("\x1b]0;owned\x07\x1b[2Jgone", "stdout", TASK)
    teller(out).completed(TASK, 1, json_line({"x": "\x1b[2J"}))

    assert shown(out, 80) == [
        "12:03:11  6f1c2e9a  │ �]0;owned��[2Jgone",
        '12:03:11  6f1c2e9a  ✓ 1.0 s  {"x": "\\u001b[2J"}',
    ]


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("", 10, [""]),
        ("short", 10, ["short"]),
        ("one two three", 8, ["one two", "three"]),
        ("x" * 25, 10, ["x" * 10, "x" * 10, "x" * 5]),
        ("a " + "x" * 12, 10, ["a " + "x" * 8, "x" * 4]),
        ("漢字漢字", 5, ["漢字", "漢字"]),
        ("exactly ten", 11, ["exactly ten"]),
    ],
)
def test_a_long_line_is_broken_at_blanks_where_that_wastes_little(
    text: str, columns: int, lines: list[str]
) -> None:
    assert wrapped(text, columns) == lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0 ms"), (0.312, "312 ms"), (4.26, "4.3 s"), (133, "2 min 13 s"), (7380, "2 h 3 min")],
)
def test_times_are_as_people_say_them(seconds: float, text: str) -> None:
    assert took(seconds) == text


def test_of_many_files_some_are_named() -> None:
    assert files(["a.py", "b\nc.py", "d", "e", "f"]) == "a.py, b c.py, d and 2 more"


# What the worker's log says ----------------------------------------------------------------------------


def heard(*events: dict[str, Any], now_s: float = 0.0, stored: dict[str, str] | None = None) -> str:
    out = io.StringIO()
    db: Any = _Hashes(task=stored) if stored else _Hashes()
    hearing = Hearing(teller(out), db, keep_results=True, places=["/kept/deployment"])
    for event in events:
        hearing.hear(event, 0.0)
    hearing.tick(now_s)
    return out.getvalue().replace("12:03:11  ", "")


COMPLETED = {"event": "task.completed", "task_id": TASK, "queue": Q, "attempt": "1", "run_s": 0.2}
ARCHIVED = {**COMPLETED, "event": "task.archived", "error": "ValueError: no", "level": "warning"}


def test_an_end_is_told_with_what_redis_has_of_it() -> None:
    stored = {"state": "completed", "result": '{"n": 1}'}

    assert heard(COMPLETED, stored=stored) == f'{TASK}  ✓ 200 ms  {{"n": 1}}\n'


@pytest.mark.parametrize("result", ["[" * 5_000 + "]" * 5_000, "7" * 5_000, "\x1b no JSON"])
def test_a_result_that_cannot_be_read_is_told_as_it_stands(result: str) -> None:
    text = heard(COMPLETED, stored={"state": "completed", "result": result})

    assert text.startswith(f"{TASK}  ✓ 200 ms  {result[:100].replace(chr(27), ' ')}")


@pytest.mark.parametrize(
    "line",
    [
        '{"task_id": "\\"progress\\""}',
        '{"task_id": {"progress": 1}}',
        '{"task_id": "a", "progress": ' + "[" * 5_000 + "}",
        '{"progress": ' + "7" * 5_000 + "}",
        '{"progress": 1, "more": 1}',
    ],
)
def test_a_line_that_is_no_progress_is_told_as_it_stands(line: str) -> None:
    event = {"event": "process.output", "src": "stderr", "text": line}

    assert heard(event).startswith(f"│ {line[:100]}")


def test_an_end_is_told_without_that_when_it_does_not_come() -> None:
    assert heard(COMPLETED, now_s=RESULT_S - 0.1, stored={"state": "active"}) == ""
    assert heard(COMPLETED, now_s=RESULT_S, stored={"state": "active"}) == f"{TASK}  ✓ 200 ms  null\n"


def test_an_error_is_told_whole_and_its_files_are_those_of_the_folder() -> None:
    place = "/kept/deployment/inference.2/src/main.py"
    package = "/kept/deployment/.inference.2.venv/lib/python3.11/site-packages/pkg/mod.py"
    stored = {"state": "archived", "error_msg": f'File "{place}", line 3\nFile "{package}", line 1\nno'}

    text = heard(ARCHIVED, stored=stored)

    assert [line.strip() for line in text.splitlines()[1:]] == [
        'File "src/main.py", line 3',
        'File "pkg/mod.py", line 1',
        "no",
    ]
    assert text.startswith(f"{TASK}  ✗ 200 ms  failed for good\n")


def test_a_retry_says_when() -> None:
    retry = {**ARCHIVED, "event": "task.retry", "delay_s": 10.0, "retried": 1}

    text = heard(retry, stored={"state": "pending", "error_msg": "boom"})

    assert text.splitlines()[0] == f"{TASK}  ✗ 200 ms  attempt 1 failed, again in 10.0 s"


def test_what_is_unknown_is_told_where_it_is_a_warning_and_only_then() -> None:
    quiet = {"event": "worker.something", "level": "info", "worker_id": "w"}
    loud = {"event": "vault.refused", "level": "warning", "worker_id": "w", "parent": "p", "reason": "PATH"}

    assert heard(quiet, loud) == "! vault.refused: reason=PATH\n"


def test_lines_that_are_no_events_are_told(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    tail = LogTail(log)
    assert tail.news() == []
    deep = '{"event": ' + "[" * 5_000
    log.write_bytes(b'Traceback\n{"event": "a"}\n%b\n{"event"' % deep.encode())

    first = tail.news()
    with log.open("ab") as more:
        more.write(b': "b"}\n')

    assert first == [{"text": "Traceback"}, {"event": "a"}, {"text": deep}]
    assert tail.news() == [{"event": "b"}]
    assert tail.news() == []
    assert heard({"text": "Traceback"}) == "│ Traceback\n"


# The summary -------------------------------------------------------------------------------------------


def test_the_summary_counts_what_was_logged_and_what_was_left_out() -> None:
    summary = Summary()
    for event in (
        COMPLETED,
        ARCHIVED,
        {"event": "task.summary", "lines_left_out": 8, "completed": 8, "mean_run_s": 0.1, "longest_run_s": 2},
        {"event": "redeploy.done"},
        {"event": "redeploy.refused"},
        {"event": "process.crashed"},
    ):
        summary.take(event)

    assert summary.lines(61, unfinished=2) == [
        "Tasks: 9 completed, 1 failed for good, 2 not over; 1 min 1 s in all",
        "a run took 120 ms on average, 2.0 s at most",
        "1 reload, 1 refused",
        "the task process crashed 1 time",
        "failed for good:",
        f"  {TASK}",
    ]
    assert not summary.well


def test_the_summary_of_nothing_says_so() -> None:
    assert Summary().lines(3, unfinished=0) == ["Tasks: none; 3.0 s in all"]
    assert Summary().well


# Code that no process shows to be wrong ----------------------------------------------------------------


def test_code_that_cannot_be_compiled_is_told_as_python_tells_it(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 1 is 1\n")
    (tmp_path / "notes.txt").write_text("x = (\n")
    (tmp_path / "bad.py").write_text("x = (\n")
    (tmp_path / "nul.py").write_bytes(b"x = 1\0\n")

    said = syntax.problem(tmp_path, ["gone.py", "notes.txt", "good.py", "bad.py"])

    assert said.splitlines()[0] == '  File "bad.py", line 1'
    assert said.splitlines()[-1] == "SyntaxError: '(' was never closed"
    assert syntax.problem(tmp_path, ["gone.py", "notes.txt", "good.py"]) == ""
    assert "null bytes" in syntax.problem(tmp_path, ["nul.py"])


# Files beside the code ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"n": 1}', [{"n": 1}]),
        ('{\n  "n": 1\n}\n', [{"n": 1}]),
        ('[{"n": 1}, {"n": 2}]', [{"n": 1}, {"n": 2}]),
        ('{"n": 1}\n\n{"n": 2}\n', [{"n": 1}, {"n": 2}]),
    ],
)
def test_payloads_may_be_one_a_list_or_lines(tmp_path: Path, text: str, expected: list[Any]) -> None:
    file = tmp_path / "payload.json"
    file.write_text(text)

    assert inputs.payloads(file) == expected


DEEP = '{"n": ' * 5_000 + "1" + "}" * 5_000


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "[1]", '{"n": 1', '{"n": 1}\n[2]', "{'n': 1}", DEEP, f'{{"n": 1}}\n{DEEP}']
)
def test_other_payloads_are_refused_with_the_file_and_what_is_expected(tmp_path: Path, text: str) -> None:
    file = tmp_path / "payload.json"
    file.write_text(text)

    with pytest.raises(CommandFailed, match=r"--payload .*payload.json: expected a JSON object"):
        inputs.payloads(file)


def test_variables_are_read_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# note\nA=1\nexport B='two words'\nC=\"x\\ny\"\nD=${A}\nE=\n")

    assert inputs.variables(file) == {"A": "1", "B": "two words", "C": "x\ny", "D": "${A}", "E": ""}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("s3cret", "line 1 is"),
        ("A=1\ns3cret\n", "line 2 is"),
        ("s3-cret=1", "line 1 is"),
        ("A=1\n\n\ns3cret\n", "line 4 is"),
        ("A=1\nB='s3cret\nC=2\n", "line 2 is"),
        ('=s3cret\nA=1\nB="s3cret" s3cret\n', "lines 1, 3 are"),
    ],
)
def test_a_line_that_is_none_is_refused_without_showing_it(tmp_path: Path, text: str, lines: str) -> None:
    file = tmp_path / ".env"
    file.write_text(text)

    with pytest.raises(
        CommandFailed, match=rf"--env-file .*\.env: expected NAME=value .* {lines} not"
    ) as problem:
        inputs.variables(file)

    assert "cret" not in str(problem.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"--env-file .*nowhere: No such file"):
        inputs.variables(tmp_path / "nowhere")
