"""How the demo talks: chapters, details, and what was proved, with the time it took."""

import os
import time
from typing import TextIO

#: Column at which times end.
_WIDTH = 96
_MARGIN = "   "
_GREEN, _RED, _DIM, _BOLD, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


class Story:
    """Writes to ``out``; colours and the line that changes are for terminals only."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lively = out.isatty()
        self._coloured = self._lively and "NO_COLOR" not in os.environ
        self._began_s = self._chapter_s = time.monotonic()
        self._chapter = 0
        self._unfinished = False

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_s

    def title(self, text: str) -> None:
        """The first line."""
        self._write(self._paint(_BOLD, text))

    def chapter(self, text: str) -> None:
        """What comes next; times are counted from here."""
        self._chapter += 1
        self._chapter_s = time.monotonic()
        self._write("")
        self._write(self._paint(_BOLD, f"{self._chapter}  {text}"))

    def detail(self, text: str) -> None:
        """Something seen on the way."""
        self._write(_MARGIN + self._paint(_DIM, text))

    def proved(self, text: str) -> None:
        """Something that was checked and is so, with the seconds since the chapter began."""
        line = f"{_MARGIN}✓ {text}"
        took = f"{time.monotonic() - self._chapter_s:.1f} s"
        gap = " " * max(2, _WIDTH - len(line) - len(took))
        self._write(line.replace("✓", self._paint(_GREEN, "✓"), 1) + gap + self._paint(_DIM, took))

    def waiting(self, what: str) -> None:
        """What is being waited for, on a line that the next one replaces."""
        if self._lively:
            took = f"{time.monotonic() - self._chapter_s:.1f} s"
            self._out.write(f"\r\x1b[K{_MARGIN}{self._paint(_DIM, f'… {what}  {took}')}")
            self._out.flush()
            self._unfinished = True

    def closing(self, text: str) -> None:
        """The last line of a story that went well."""
        self._write("")
        self._write(f"{self._paint(_GREEN, '✓')} {self._paint(_BOLD, text)}")

    def failed(self, text: str, evidence: str = "") -> None:
        """The end of one that did not, and what helps to see why."""
        self._write("")
        self._write(f"{self._paint(_RED, '✗')} {text}")
        if evidence:
            self._write(evidence)

    def _write(self, line: str) -> None:
        if self._unfinished:
            self._out.write("\r\x1b[K")
            self._unfinished = False
        self._out.write(line + "\n")
        self._out.flush()

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text
