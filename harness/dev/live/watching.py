"""What is saved in a folder, while it happens.

What git ignores there is seen, too: whether anything has changed for it is git's to say.
"""

import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import watchfiles

from harness.background import Background
from harness.failure import CommandFailed

#: Milliseconds in which changes are collected, without a change and at most.
_STEP_MS = 20
_LONGEST_MS = 100
#: Milliseconds until the end of the watching is noticed.
_LOOK_MS = 200
_END_S = 5.0


class Noteworthy(watchfiles.DefaultFilter):
    """All but what tools write for themselves."""

    def __init__(self) -> None:
        super().__init__(
            ignore_dirs=(*self.ignore_dirs, ".ruff_cache", ".ipynb_checkpoints", "venv", "deployment")
        )


class Watching(Background):
    """A context manager; inside it, :meth:`changes` says what was saved since it was asked before."""

    def __init__(self, folder: Path) -> None:
        super().__init__("watching", _END_S)
        self._folder = folder
        self._found: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def changes(self, wait_s: float) -> list[str]:
        """Paths relative to the folder, sorted; waits so long for the first of them.

        Raises :class:`~harness.failure.CommandFailed` where the folder cannot be watched.
        """
        found: set[str] = set()
        while True:
            try:
                news = self._found.get(timeout=0 if found else wait_s)
            except queue.Empty:
                return sorted(found)
            if isinstance(news, Exception):
                raise CommandFailed(
                    f"{self._folder} cannot be watched: {news}; with WATCHFILES_FORCE_POLLING=true it is "
                    "looked at again and again instead"
                ) from news
            found.update(news)

    def _run(self) -> None:
        try:
            for changes in watchfiles.watch(
                self._folder,
                watch_filter=Noteworthy(),
                debounce=_LONGEST_MS,
                step=_STEP_MS,
                stop_event=self._stop,
                rust_timeout=_LOOK_MS,
            ):
                self._found.put([self._relative(path) for _, path in changes])
        except Exception as exc:  # noqa: BLE001  it is raised again where it can be told
            self._found.put(exc)

    def _relative(self, path: str) -> str:
        place = Path(path)
        return str(place.relative_to(self._folder)) if place.is_relative_to(self._folder) else path


@dataclass(frozen=True)
class Saved:
    """What was saved: names for people, the single files among it, and when the first of it was noticed."""

    names: Sequence[str] = ()
    files: Sequence[Path] = ()
    since_s: float = 0.0


class Saves:
    """Collects what is saved until it is taken; ``files`` are single ones, in the folder or not."""

    def __init__(self, watching: Watching, *files: Path | None) -> None:
        self._watching = watching
        self._stamps = {file: _stamp(file) for file in files if file is not None}
        self._saved = Saved()

    def look(self, wait_s: float) -> bool:
        """Wait so long for more; whether there is. Raises as :meth:`Watching.changes` does."""
        names = self._watching.changes(wait_s)
        before, self._stamps = self._stamps, {file: _stamp(file) for file in self._stamps}
        files = [file for file, stamp in self._stamps.items() if stamp != before[file]]
        if not names and not files:
            return False
        saved = self._saved
        self._saved = Saved(
            (*saved.names, *names, *(file.name for file in files if file.name not in names)),
            (*saved.files, *files),
            saved.since_s if saved.names else time.monotonic(),
        )
        return True

    def take(self) -> Saved:
        """What was saved since the last time."""
        saved, self._saved = self._saved, Saved()
        return saved


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
