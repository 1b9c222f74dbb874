"""Reads the diaries that handlers keep (``harness/handlers/shared/diary.py`` writes them)."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Before each entry, where a diary goes to stderr.
PREFIX = "DIARY "


@dataclass(frozen=True)
class Entry:
    """Something a task process did. ``more`` is what its event adds, such as an ``error``."""

    event: str
    task_id: str | None
    wall_ns: int
    mono_ns: int
    pid: int
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Diary:
    """The entries of one file or log, in the order in which they were written."""

    entries: tuple[Entry, ...] = ()

    @classmethod
    def of_file(cls, path: Path) -> "Diary":
        """What is in the file now; nothing where there is none yet. Raises ValueError for other lines."""
        return cls.of_text(path.read_text() if path.exists() else "")

    @classmethod
    def of_text(cls, text: str) -> "Diary":
        """What stands in a file's text. Raises ValueError for other lines."""
        lines = text.splitlines(keepends=True)
        # An entry is one write, but a reader may see it before all of it is there.
        return cls(tuple(_entry(line) for line in lines if line.endswith("\n")))

    @classmethod
    def of_lines(cls, lines: Iterable[str]) -> "Diary":
        """What stands in log lines, behind whatever each begins with; other lines are passed over."""
        parts = (line.partition(PREFIX + "{") for line in lines)
        return cls(tuple(_entry("{" + entry) for _, found, entry in parts if found))

    @classmethod
    def of_events(cls, events: Iterable[Mapping[str, Any]]) -> "Diary":
        """What stands in a worker's events ``process.output`` (``RUNQY_LOG_FORMAT=json``)."""
        texts = (str(event.get("text", "")) for event in events if event.get("event") == "process.output")
        return cls.of_lines(text for text in texts if text.startswith(PREFIX))

    def of(self, *events: str) -> tuple[Entry, ...]:
        """The entries of these events."""
        return tuple(entry for entry in self.entries if entry.event in events)

    def about(self, task_id: str) -> tuple[Entry, ...]:
        """The entries about one task."""
        return tuple(entry for entry in self.entries if entry.task_id == task_id)

    @property
    def begun(self) -> Counter[str]:
        """How often each task was begun."""
        return Counter(entry.task_id for entry in self.of("begin") if entry.task_id)

    @property
    def ended(self) -> Counter[str]:
        """How often each task was brought to its end."""
        return Counter(entry.task_id for entry in self.of("end") if entry.task_id)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes, in the order of their starts."""
        return tuple(dict.fromkeys(entry.pid for entry in self.entries))


def _entry(text: str) -> Entry:
    known = json.loads(text)
    names = ("event", "task_id", "wall_ns", "mono_ns", "pid")
    if not isinstance(known, dict) or any(name not in known for name in names):
        raise ValueError(f"no entry of a diary: {text.strip()!r}")
    event, task_id, wall_ns, mono_ns, pid = (known.pop(name) for name in names)
    return Entry(event, task_id, wall_ns, mono_ns, pid, known)
