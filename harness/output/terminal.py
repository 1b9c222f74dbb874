"""Writing to people: colours and lines that change on terminals, plain lines everywhere else."""

import json
import os
import shutil
import unicodedata
from enum import StrEnum
from typing import Any, TextIO

#: Columns of what is no terminal: files and CI logs are read in wide windows.
PLAIN_WIDTH = 110


class Style(StrEnum):
    """SGR sequences by what they say."""

    GOOD = "\x1b[32m"
    WARNING = "\x1b[33m"
    BAD = "\x1b[31m"
    ASIDE = "\x1b[2m"
    STRONG = "\x1b[1m"


_PLAIN = "\x1b[0m"
_CLEAR_LINE = "\r\x1b[K"


class Terminal:
    """Writes to ``out``. Respects https://no-color.org, and asks for the width at each line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.lively = out.isatty()
        self._coloured = self.lively and "NO_COLOR" not in os.environ
        self._transient = False

    @property
    def width(self) -> int:
        """Columns there are now."""
        return self.size[0]

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows there are now."""
        if not self.lively:
            return PLAIN_WIDTH, 24
        return shutil.get_terminal_size((80, 24))

    def paint(self, style: Style, text: str) -> str:
        """``text`` in ``style``, where there are colours."""
        return f"{style}{text}{_PLAIN}" if self._coloured else text

    def good(self, text: str) -> str:
        """``text`` as what is well."""
        return self.paint(Style.GOOD, text)

    def bad(self, text: str) -> str:
        """``text`` as what is not."""
        return self.paint(Style.BAD, text)

    def aside(self, text: str) -> str:
        """``text`` as what may be passed over."""
        return self.paint(Style.ASIDE, text)

    def strong(self, text: str) -> str:
        """``text`` as a heading."""
        return self.paint(Style.STRONG, text)

    def line(self, text: str = "") -> None:
        """A line that stays, in place of one that does not."""
        self._write(f"{text}\n")

    def transient(self, text: str, style: Style | None = Style.ASIDE) -> None:
        """A line that the next one replaces; for terminals only, and never wider than one."""
        if not self.lively:
            return
        # A line that wraps could not be cleared: a terminal clears the row the cursor is in.
        short = cut(printable(text), self.width - 1)
        self._write(self.paint(style, short) if style else short)
        self._transient = True

    def clear(self) -> None:
        """What comes next has the line for itself."""
        if self._transient:
            self._write("")

    def redraw(self, lines: list[str], height: int) -> int:
        """Draw ``lines`` in place of the last ``height`` ones; returns how many rows they take now."""
        columns, rows = self.size
        shown = [cut(printable(line), columns - 1) for line in lines][: rows - 1]
        up = f"\x1b[{height}A" if height else ""
        self._out.write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in shown))
        self._out.flush()
        return len(shown)

    def _write(self, text: str) -> None:
        self._out.write((_CLEAR_LINE if self._transient else "") + text)
        # At once: a process that is forked with it in the buffer would write it again.
        self._out.flush()
        self._transient = False


def printable(text: str) -> str:
    """``text`` without control characters: terminals obey them, and XML has no place for them."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def one_line(text: str) -> str:
    """``text`` from outside as part of one line: line breaks, tabs and controls are blanks."""
    return "".join(char if char.isprintable() else " " for char in text)


def json_line(value: Any) -> str:
    """``value`` as JSON for people and programs: readable, and no terminal obeys it."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def cut(text: str, columns: int) -> str:
    """What of one line fits into ``columns``; characters that take two count as two, tabs are blanks."""
    text = text.replace("\t", " ").partition("\n")[0]
    if columns_of(text) <= columns:
        return text
    left, kept = columns - 1, ""
    for char in text:
        left -= _cells(char)
        if left < 0:
            break
        kept += char
    return f"{kept}…" if columns > 0 else ""


def wrapped(text: str, columns: int) -> list[str]:
    """One line in lines of so many columns; broken at blanks unless that left half a line empty."""
    text, columns = text.replace("\t", "    "), max(columns, 2)
    lines: list[str] = []
    begin = cells = 0
    blank = None
    for index, char in enumerate(text):
        cells += _cells(char)
        if cells > columns:
            is_far = blank is not None and sum(map(_cells, text[begin:blank])) * 2 >= columns
            end = blank if blank is not None and is_far else index
            lines.append(text[begin:end])
            begin = end + (text[end] == " ")
            cells, blank = sum(map(_cells, text[begin : index + 1])), None
        if char == " " and index >= begin:
            blank = index
    return [*lines, text[begin:]]


def columns_of(text: str) -> int:
    """Columns that one line takes."""
    return sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
