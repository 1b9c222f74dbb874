"""Times, progress and tables as people read them."""

import io
import os
from typing import Any

import pytest

from harness.output import table, words
from harness.output.table import Column
from harness.output.terminal import Style, Terminal


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (7_199, "1 h"), (200_000, "2 d")]
)
def test_a_length_of_time_is_in_its_largest_unit(seconds: float, shown: str) -> None:
    assert words.length(seconds) == shown


@pytest.mark.parametrize(
    ("at_s", "shown"), [(None, ""), (40.0, "1 min ago"), (103.5, "in 3 s"), (100.0, "0 s ago")]
)
def test_a_moment_is_seen_from_now(at_s: float | None, shown: str) -> None:
    assert words.when(at_s, 100.0) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.254, "25 %"),
        (1.0, "100 %"),
        (1, "1"),
        (True, "true"),
        (37.5, "37.5"),
        ({"done": 3, "of": 12}, "3 of 12 (25 %)"),
        ({"done": 3, "of": 0}, '{"done": 3, "of": 0}'),
        ({"done": True, "of": 2}, '{"done": true, "of": 2}'),
        ("loading", "loading"),
        (None, "null"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_progress_is_a_line(value: Any, shown: str) -> None:
    assert words.progress(value) == shown


class Wide(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


COLUMNS = (
    Column("NAME", style={"b": Style.BAD}.get),
    Column("N", right=True),
    Column("NOTE", words="said {}"),
)
ROWS = (("a", "7", "first\tnote"), ("b", "12", "a note that is long"), ("名", "1", ""))


def test_columns_stay_where_they_are() -> None:
    out = io.StringIO()

    table.write(Terminal(out), COLUMNS, ROWS)

    assert out.getvalue().splitlines() == [
        "NAME   N  NOTE",
        "a      7  first note",
        "b     12  a note that is long",
        "名     1",
    ]


def lines_of(monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    out = Wide()
    table.write(Terminal(out), COLUMNS, ROWS)
    return out.getvalue().splitlines()


def test_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(monkeypatch, 80) == [
        "\x1b[1mNAME   N  NOTE\x1b[0m",
        "a      7  first note",
        "\x1b[31mb\x1b[0m     12  a note that is long",
        "名     1",
    ]


def test_a_text_that_has_half_of_a_line_is_cut_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(monkeypatch, 24)[2] == "\x1b[31mb\x1b[0m     12  a note that …"


def test_what_does_not_fit_goes_into_a_second_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(monkeypatch, 18) == [
        "\x1b[1mNAME   N\x1b[0m",
        "a      7",
        "\x1b[2m    said first n…\x1b[0m",
        "\x1b[31mb\x1b[0m     12",
        "\x1b[2m    said a note …\x1b[0m",
        "名     1",
    ]
