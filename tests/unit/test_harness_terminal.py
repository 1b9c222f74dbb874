"""What people see: nothing of a line that changes is left, at any width, and colours only where wanted."""

import io
import json
from xml.etree import ElementTree

import pyte
import pytest

from harness.dev.watch import Lines, View
from harness.output import junit
from harness.output.terminal import Style, Terminal, cut, json_line, one_line


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def _screen(text: str) -> list[str]:
    """What an independent terminal emulator of 80 columns shows."""
    screen = pyte.Screen(80, 24)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display if line.strip()]


@pytest.mark.usefixtures("eighty")
@pytest.mark.parametrize("text", ["x" * 300, "漢字" * 60, "a\tb" * 40, "two\nlines"], ids=ascii)
def test_of_a_line_that_changes_nothing_is_left(text: str) -> None:
    out = _Tty()
    terminal = Terminal(out)

    terminal.transient(text)
    terminal.line("done")

    assert _screen(out.getvalue()) == ["done"]


@pytest.mark.usefixtures("eighty")
def test_a_picture_is_drawn_in_place_of_the_one_before() -> None:
    out = _Tty()
    terminal = Terminal(out)

    height = terminal.redraw(["WORKER", "w" * 200, "third"], 0)
    terminal.redraw(["WORKER", "none"], height)

    assert _screen(out.getvalue()) == ["WORKER", "none"]


def test_what_is_no_terminal_gets_plain_lines_only() -> None:
    out = io.StringIO()
    terminal = Terminal(out)

    terminal.transient("… on the way")
    terminal.line(terminal.good("done"))

    assert out.getvalue() == "done\n"


@pytest.mark.usefixtures("eighty")
def test_no_color_is_respected_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = Terminal(_Tty()).good("done")
    monkeypatch.setenv("NO_COLOR", "1")

    assert coloured.startswith(Style.GOOD)
    assert Terminal(_Tty()).good("done") == "done"


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("漢字", 3, "漢…"), ("abc", 0, "")],
)
def test_a_line_is_cut_by_the_columns_it_takes(text: str, columns: int, shown: str) -> None:
    assert cut(text, columns) == shown


def test_text_from_outside_is_one_line_without_controls_and_json_means_the_same() -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\x7f\u202e\u200b\r\n\tforged é"

    assert one_line(hostile) == " ]0;owned  2J      forged é"
    assert json_line({"a": hostile}).isprintable()
    assert json.loads(json_line({"a": hostile})) == {"a": hostile}


def test_a_watched_workers_name_starts_no_line_of_its_own() -> None:
    out = io.StringIO()
    worker = {"worker_id": "w\x1b[2J\nforged", "status": "running\r\nforged"}

    Lines(out).show(View(workers=[worker]), [{"id": "t\nforged", "state": "completed"}], 0)

    assert len(out.getvalue().splitlines()) == 2
    assert "\x1b" not in out.getvalue()


def test_a_report_counts_what_failed_and_what_was_skipped_and_is_xml_whatever_was_printed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("junit") / "report.xml"
    cases = [
        junit.Case("group", "good", 1.0, remark="\x1b[31mred"),
        junit.Case("group", "bad", 2.0, failure="first\x00 line\nrest"),
        junit.Case("group", "left out", 0.0, skipped="no engine"),
    ]

    junit.write(path, "suite", cases, 3.0)

    suite = ElementTree.parse(path).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [failure.get("message") for failure in suite.iter("failure")] == ["first� line"]
