"""What `dev` tells: what tasks print and how they end, what was saved, and what the worker makes of it.

A line is ``time  task  mark text``; what does not fit goes on below its text. On a wide terminal, and where
there is none, a task's id is whole, elsewhere as much of it as tells tasks apart.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.output.terminal import Style, Terminal, one_line, printable, wrapped

#: Columns from which ids are shown whole, and characters that are shown of one elsewhere.
WIDE = 140
_SHORT_ID = 8
_WHOLE_ID = 36
#: The longest result or line of output that is shown, in characters, and the most lines of an error.
_LONGEST = 2_000
_ERROR_LINES = 30
#: Files that are named.
_FILES = 3


class Teller:
    """Writes to ``terminal``; ``clock`` says what time it is, as people read it."""

    def __init__(self, terminal: Terminal, clock: Callable[[], str] | None = None) -> None:
        self._terminal = terminal
        self._clock = clock or (lambda: time.strftime("%H:%M:%S"))

    def say(
        self, mark: str, text: str, style: Style | None = None, task_id: str = "", *, dim: bool = False
    ) -> None:
        """A line, or several; ``style`` is the mark's, ``dim`` is for a text that may be passed over."""
        terminal = self._terminal
        whole = not terminal.lively or terminal.width >= WIDE
        who = task_id[: _WHOLE_ID if whole else _SHORT_ID]
        if terminal.lively:
            who = who.ljust(_WHOLE_ID if whole else _SHORT_ID)
        head = f"{self._clock()}  {who}{'  ' if who else ''}"
        room = terminal.width - len(head) - len(mark) - 2
        lines = [
            part
            for line in printable(text).split("\n")
            for part in (wrapped(line, room) if terminal.lively else [line])
        ]
        margin = " " * (len(head) + len(mark) + 1)
        painted = terminal.paint(style, mark) if style else mark
        for number, line in enumerate(lines):
            shown = terminal.aside(line) if dim and line else line
            start = f"{terminal.aside(head)}{painted} " if number == 0 else margin
            terminal.line(f"{start}{shown}".rstrip())

    def heading(self, text: str, facts: Mapping[str, str]) -> None:
        """What this is, and a line for each of ``facts``."""
        self._terminal.line(self._terminal.strong(text))
        width = max(map(len, facts))
        for name, fact in facts.items():
            self._terminal.line(f"  {self._terminal.aside(name.ljust(width))}  {fact}")
        self._terminal.line()

    def waiting(self, what: str) -> None:
        """What is under way, on a line that the next one replaces."""
        self._terminal.transient(f"          … {what}")

    def printed(self, text: str, source: str, task_id: str) -> None:
        """A line of the task process's own."""
        self.say("│", _short(text), Style.WARNING if source == "stderr" else Style.ASIDE, task_id)

    def progress(self, value: str, task_id: str) -> None:
        """How far a task is: on a terminal a line that the next one replaces, for there may be very many."""
        if self._terminal.lively:
            self.waiting(f"{task_id[:_SHORT_ID]} progress {_short(value)}")
        else:
            self.aside(f"progress {_short(value)}", task_id)

    def completed(self, task_id: str, run_s: float | None, result: str) -> None:
        """A task's good end; ``result`` is JSON, on one line."""
        self.say("✓", f"{_after(run_s)}{_short(result)}", Style.GOOD, task_id)

    def failed(self, task_id: str, run_s: float | None, what: str, error: str) -> None:
        """A run that did not end well; ``what`` becomes of the task."""
        lines = error.strip().splitlines()
        left_out = [f"… {len(lines) - _ERROR_LINES} lines more"] if len(lines) > _ERROR_LINES else []
        shown = "\n".join([f"{_after(run_s)}{what}", *left_out, *map(_short, lines[-_ERROR_LINES:])])
        self.say("✗", shown, Style.BAD, task_id)

    def good(self, text: str) -> None:
        """Something that went well."""
        self.say("✓", text, Style.GOOD)

    def bad(self, text: str) -> None:
        """Something that did not."""
        self.say("✗", text, Style.BAD)

    def warning(self, text: str) -> None:
        """Something to know."""
        self.say("!", text, Style.WARNING)

    def aside(self, text: str, task_id: str = "") -> None:
        """Something that may be passed over."""
        self.say("·", text, Style.ASIDE, task_id, dim=True)

    def closing(self, lines: Sequence[str], *, well: bool) -> None:
        """The summary."""
        self._terminal.line()
        first, *others = lines
        mark = self._terminal.good("✓") if well else self._terminal.bad("✗")
        self._terminal.line(f"{mark} {self._terminal.strong(first)}")
        for line in others:
            self._terminal.line(f"  {line}")


def took(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def files(paths: Sequence[str]) -> str:
    """Some files' names."""
    shown = ", ".join(one_line(path) for path in paths[:_FILES])
    more = len(paths) - _FILES
    return f"{shown} and {more} more" if more > 0 else shown


def count(number: int, what: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def fields(event: Mapping[str, Any], *left_out: str) -> str:
    """A log event's fields in words."""
    return " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in event.items()
        if name not in left_out
    )


def _after(run_s: float | None) -> str:
    return "" if run_s is None else f"{took(run_s)}  "


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
