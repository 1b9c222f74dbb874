"""Outcomes on disk while Redis does not take them: a file a worker, gone when there are none.

Its owner holds a lock (``flock``) on it for as long as it lives; a file that can be locked is a dead
worker's, and whoever locks it delivers what is in it. Each change is on the disk (``fsync``) before the call
returns. All calls block, on a sick disk for long: they belong into a thread.

The files are readable for their owner only: they hold results.
"""

import errno
import fcntl
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from appliance.errors import StateUnusable
from appliance.queue import record
from appliance.queue.message import Lease
from appliance.queue.record import Contents, Kept

#: Largest size of a worker's file in bytes; what does not fit stays in memory only.
LARGEST_BYTES = 64 * 1024 * 1024
SUFFIX = ".outbox"
_UNREADABLE = ".unreadable"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Journal:
    """One locked file of lines. Every method raises :class:`~appliance.errors.StateUnusable`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.size_bytes = 0
        self._fd = fd

    @classmethod
    def create(cls, folder: Path, owner: str) -> Self:
        """A new, empty one."""
        with _translated(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                # mkstemp: readable for us only from the first moment on.
                fd, name = tempfile.mkstemp(SUFFIX, f"{owner}-", folder)
                try:
                    if _lock(fd):
                        _sync_folder(folder)
                        return cls(Path(name), fd)
                except BaseException:
                    Path(name).unlink(missing_ok=True)
                    os.close(fd)
                    raise
                os.close(fd)  # a worker that starts took it for a dead one's

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """A dead worker's; None when its worker lives, or somebody else was quicker."""
        with _translated(path):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            try:
                if _lock(fd):
                    return cls(path, fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            return None

    def read(self) -> Contents:
        """What is in it. What is unreadable is also put into a file beside this one, for people."""
        with _translated(self.path):
            data = b"".join(_blocks(self._fd))
            contents = record.decode(data)
            self.size_bytes = len(data) - len(contents.torn)
            if contents.unreadable:
                self._set_aside(contents.unreadable)
            return contents

    def append(self, lines: bytes) -> None:
        """Add lines; all or, should the disk not take them, none."""
        with _translated(self.path):
            try:
                written = 0
                while written < len(lines):
                    rest = memoryview(lines)[written:]
                    written += os.pwrite(self._fd, rest, self.size_bytes + written)
                # What stood there of an unfinished line ends here.
                os.ftruncate(self._fd, self.size_bytes + len(lines))
                os.fsync(self._fd)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._fd, self.size_bytes)
                raise
            self.size_bytes += len(lines)

    def remove(self) -> None:
        """Delete it: nothing in it waits any more."""
        with _translated(self.path):
            self.path.unlink(missing_ok=True)
            self.close()

    def close(self) -> None:
        """Leave it to whoever comes next. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def set_aside_path(self) -> Path:
        """Where unreadable lines go."""
        return self.path.with_name(self.path.name + _UNREADABLE)

    def _set_aside(self, lines: Sequence[bytes]) -> None:
        fd = os.open(self.set_aside_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.writelines(line + b"\n" for line in lines)
            file.flush()
            os.fsync(fd)


class Outbox:
    """What one worker keeps on disk."""

    def __init__(self, folder: Path, owner: str, *, largest_bytes: int = LARGEST_BYTES) -> None:
        self._folder = folder
        self._owner = owner
        self._largest_bytes = largest_bytes
        self._journal: Journal | None = None
        self._kept: set[Lease] = set()

    @property
    def size_bytes(self) -> int:
        """The size of the file; 0 where there is none."""
        return self._journal.size_bytes if self._journal else 0

    def mirror(self, outcomes: Collection[Kept]) -> int:
        """Keep these and no others; returns how many of them did not fit.

        Raises :class:`~appliance.errors.StateUnusable`: what was on disk before still is.
        """
        wanted = {kept.settlement.lease: kept for kept in outcomes}
        done = self._kept - wanted.keys()
        if self._journal and done == self._kept:
            self._journal.remove()
            self._journal, self._kept = None, set()
        elif self._journal and done:
            self._journal.append(record.encode_done(done))
            self._kept -= done
        lines: dict[Lease, bytes] = {}
        room = self._largest_bytes - self.size_bytes
        missing = [kept for lease, kept in wanted.items() if lease not in self._kept]
        for kept in missing:
            line = record.encode(kept)
            if len(line) <= room:
                room -= len(line)
                lines[kept.settlement.lease] = line
        if lines:
            self._journal = self._journal or Journal.create(self._folder, self._owner)
            self._journal.append(b"".join(lines.values()))
            self._kept |= lines.keys()
        return len(missing) - len(lines)


def orphans(folder: Path) -> Iterator[Path]:
    """Files that may be dead workers', oldest names first; no folder has none."""
    with _translated(folder):
        yield from sorted(folder.glob(f"*{SUFFIX}"))


def _lock(fd: int) -> bool:
    """Whether the file is ours now. One that was deleted meanwhile is nobody's."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(fd).st_nlink > 0


def _blocks(fd: int) -> Iterator[bytes]:
    at = 0
    while block := os.pread(fd, 1 << 20, at):
        at += len(block)
        yield block


def _sync_folder(folder: Path) -> None:
    """Make the entry of a new file survive a power cut as well as its content."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        reason = "the disk is full" if exc.errno in _FULL else exc.strerror
        raise StateUnusable(f"{path}: {reason}") from exc
