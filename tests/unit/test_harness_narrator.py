"""How the demo talks: to a terminal with colours and a changing line, to a file in plain lines."""

import io

import pytest

from harness.output.narrator import Narrator


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tell(out: io.StringIO) -> str:
    narrator = Narrator(out)
    narrator.chapter("One")
    narrator.waiting("the end")
    narrator.proved("it is so")
    narrator.failed("it is not", "evidence")
    return out.getvalue()


def test_a_file_gets_plain_lines_and_nothing_that_changes() -> None:
    text = tell(io.StringIO())

    assert "\x1b" not in text
    assert "\r" not in text
    assert "the end" not in text
    assert "✓ it is so" in text
    assert text.endswith("\n✗ it is not\nevidence\n")


def test_a_terminal_gets_colours_and_a_line_that_is_wiped_before_the_next() -> None:
    text = tell(Terminal())

    assert "\x1b[32m✓\x1b[0m it is so" in text
    assert text.index("the end") < text.index("\r\x1b[K", text.index("the end")) < text.index("it is so")


def test_a_terminal_of_somebody_who_wants_no_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[32m" not in tell(Terminal())


def test_chapters_are_numbered_and_what_is_proved_has_its_seconds() -> None:
    out = io.StringIO()
    narrator = Narrator(out)
    narrator.chapter("One")
    narrator.chapter("Two")
    narrator.proved("so")

    assert "\n2  Two\n" in out.getvalue()
    assert out.getvalue().splitlines()[-1].endswith(" 0.0 s")
