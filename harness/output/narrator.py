"""How the demo talks: chapters, details, and what was proved, with the time it took."""

import time
from typing import TextIO

from harness.output.terminal import Terminal

#: Column at which times end, where there are so many.
_WIDTH = 96
_MARGIN = "   "


class Narrator:
    """Writes to ``out``; colours and the line that changes are for terminals only."""

    def __init__(self, out: TextIO) -> None:
        self._terminal = Terminal(out)
        self._began_s = self._chapter_s = time.monotonic()
        self._chapter = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_s

    def title(self, text: str) -> None:
        """The first line."""
        self._terminal.line(self._terminal.strong(text))

    def chapter(self, text: str) -> None:
        """What comes next; times are counted from here."""
        self._chapter += 1
        self._chapter_s = time.monotonic()
        self._terminal.line()
        self._terminal.line(self._terminal.strong(f"{self._chapter}  {text}"))

    def detail(self, text: str) -> None:
        """Something seen on the way."""
        self._terminal.line(_MARGIN + self._terminal.aside(text))

    def proved(self, text: str) -> None:
        """Something that was checked and is so, with the seconds since the chapter began."""
        line = f"{_MARGIN}✓ {text}"
        took = f"{time.monotonic() - self._chapter_s:.1f} s"
        width = min(_WIDTH, self._terminal.width - 1)
        gap = " " * max(2, width - len(line) - len(took))
        self._terminal.line(line.replace("✓", self._terminal.good("✓"), 1) + gap + self._terminal.aside(took))

    def waiting(self, what: str) -> None:
        """What is being waited for, on a line that the next one replaces."""
        took = f"{time.monotonic() - self._chapter_s:.1f} s"
        self._terminal.transient(f"{_MARGIN}… {what}  {took}")

    def closing(self, text: str) -> None:
        """The last line of a run that went well."""
        self._terminal.line()
        self._terminal.line(f"{self._terminal.good('✓')} {self._terminal.strong(text)}")

    def failed(self, text: str, evidence: str = "") -> None:
        """The end of one that did not, and what helps to see why."""
        self._terminal.line()
        self._terminal.line(f"{self._terminal.bad('✗')} {text}")
        if evidence:
            self._terminal.line(evidence)
