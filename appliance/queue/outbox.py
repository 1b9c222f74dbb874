"""Outcomes on disk while Redis does not take them: a file a worker, gone when there are none.

Its owner holds a lock (``flock``) on it for as long as it lives; a file that can be locked is a dead
worker's, and the worker that locks it delivers what is in it. Each change is on the disk (``fsync``) before
the call returns. All calls block, on a sick disk for long: they belong into a thread.

The files are readable for their owner only: they hold results. Others may be able to write to the folder:
what is in a file is believed as far as its seal goes (:mod:`appliance.queue.seal`), everything about it is
bounded before it is read, and one that no worker can have written is set aside under another name, as it is.
"""

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

from appliance.errors import StateBroken, StateUnusable
from appliance.queue import record
from appliance.queue.message import Lease
from appliance.queue.record import Contents, Kept
from appliance.queue.seal import Seal

#: Outcomes a worker's file holds at most, in bytes; what does not fit stays in memory only.
LARGEST_BYTES = 64 * 1024 * 1024
#: A file is not larger: each outcome may be taken back by a line that is shorter than its own.
LARGEST_FILE_BYTES = 2 * LARGEST_BYTES
#: From how many bytes of no use on a file is written again, where they are its greater part.
WASTE_BYTES = 256 * 1024
#: With the version of the format, so that workers of two versions leave each other's files alone.
SUFFIX = ".outbox2"
#: Files that are looked at in one go; of more, the others have their turn when these are gone.
MOST_FILES = 1_000
_ANY_VERSION = ".outbox"
_UNREADABLE = ".unreadable"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV})


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
        """A dead worker's; None when its worker lives, or another worker was quicker."""
        with _translated(path):
            try:
                # Without O_NONBLOCK, a file that is none could hold us up for ever.
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                return None
            except OSError as exc:
                if exc.errno in _NO_FILE:
                    raise StateBroken(f"{path}: it is no regular file") from exc
                raise
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise StateBroken(f"{path}: it is no regular file")
                if _lock(fd):
                    return cls(path, fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            return None

    def read(self, seal: Seal) -> Contents:
        """What is in it; also raises :class:`~appliance.errors.StateBroken`: too large to be a worker's."""
        with _translated(self.path):
            size_bytes = os.fstat(self._fd).st_size
            # Before it is read: a file of gigabytes may take next to no room on the disk.
            if size_bytes > LARGEST_FILE_BYTES:
                raise StateBroken(f"{self.path}: it has more than {LARGEST_FILE_BYTES} bytes")
            contents = record.decode(self._lines(), seal)
            self.size_bytes = size_bytes - contents.torn_bytes
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

    def without(self, waste: Iterable[tuple[int, int]], stay: Iterable[tuple[int, int]]) -> "Journal":
        """This one, or another one in its place with what is to ``stay``, where most of it is ``waste``.

        Both are lines: the first byte of one and the one behind.
        """
        wasted = sum(end - start for start, end in waste)
        if wasted < WASTE_BYTES or wasted < self.size_bytes / 2:
            return self
        with _translated(self.path):
            lines = b"".join(os.pread(self._fd, end - start, start) for start, end in sorted(stay))
        return self.replaced(self.path.stem.rpartition("-")[0], lines)

    def replaced(self, owner: str, lines: bytes) -> "Journal":
        """Another one with these lines, which is on the disk before this one goes."""
        new = Journal.create(self.path.parent, owner)
        try:
            new.append(lines)
            self.remove()
        except BaseException:
            new.close()
            raise
        return new

    def remove(self) -> None:
        """Delete it: nothing in it waits any more."""
        with _translated(self.path):
            self.path.unlink(missing_ok=True)
            self.close()

    def close(self) -> None:
        """Leave it to the next worker. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lines(self) -> Iterator[bytes]:
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            left_bytes = LARGEST_FILE_BYTES  # it may grow while it is read
            while left_bytes > 0 and (line := file.readline(min(LARGEST_BYTES + 1, left_bytes))):
                left_bytes -= len(line)
                if len(line) > LARGEST_BYTES:
                    raise StateBroken(f"{self.path}: a line of it has more than {LARGEST_BYTES} bytes")
                yield line


class Outbox:
    """What one worker keeps on disk."""

    def __init__(self, folder: Path, owner: str, seal: Seal, *, largest_bytes: int = LARGEST_BYTES) -> None:
        self._folder = folder
        self._owner = owner
        self._seal = seal
        self._largest_bytes = largest_bytes
        self._journal: Journal | None = None
        #: The lengths of their lines.
        self._kept: dict[Lease, int] = {}

    @property
    def size_bytes(self) -> int:
        """The size of the file; 0 where there is none."""
        return self._journal.size_bytes if self._journal else 0

    def mirror(self, outcomes: Collection[Kept]) -> int:
        """Keep these and no others; returns how many of them did not fit.

        Raises :class:`~appliance.errors.StateUnusable`: what was on disk before still is.
        """
        wanted = {kept.settlement.lease: kept for kept in outcomes}
        done = self._kept.keys() - wanted.keys()
        if self._journal and len(done) == len(self._kept):
            self._journal.remove()
            self._journal, self._kept = None, {}
        elif self._journal and done:
            self._journal.append(record.encode_done(done, self._seal))
            for lease in done:
                del self._kept[lease]
            self._shrink(wanted)
        lines: dict[Lease, bytes] = {}
        room = self._largest_bytes - self.size_bytes
        missing = [kept for lease, kept in wanted.items() if lease not in self._kept]
        for kept in missing:
            if record.least_bytes(kept) > room:
                continue
            line = record.encode(kept, self._seal)
            if len(line) <= room:
                room -= len(line)
                lines[kept.settlement.lease] = line
        if lines:
            self._journal = self._journal or Journal.create(self._folder, self._owner)
            self._journal.append(b"".join(lines.values()))
            self._kept |= {lease: len(line) for lease, line in lines.items()}
        return len(missing) - len(lines)

    def _shrink(self, wanted: Mapping[Lease, Kept]) -> None:
        """Write the file again where most of it is of no use: it must not grow while one outcome stays."""
        needed = sum(self._kept.values())
        if self._journal and self.size_bytes - needed > max(needed, WASTE_BYTES):
            lines = {lease: record.encode(wanted[lease], self._seal) for lease in self._kept}
            self._journal = self._journal.replaced(self._owner, b"".join(lines.values()))
            self._kept = {lease: len(line) for lease, line in lines.items()}


class Orphan(NamedTuple):
    """A file that may be a dead worker's. ``mark`` changes when the file does."""

    path: Path
    mark: tuple[int, int, int]

    @property
    def is_ours(self) -> bool:
        """Whether it is of the version that this worker writes."""
        return self.path.suffix == SUFFIX


def orphans(folder: Path) -> list[Orphan]:
    """Files that may be dead workers', oldest names first; no folder has none."""
    found: list[Orphan] = []
    with _translated(folder), suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            # What is set aside has another suffix, and so has what other programs put here.
            if not _is_version(Path(entry.name).suffix):
                continue
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                mark = (status.st_ino, status.st_size, status.st_mtime_ns)
                found.append(Orphan(Path(entry.path), mark))
            if len(found) >= MOST_FILES:
                break
    return sorted(found)


def set_aside(path: Path) -> Path | None:
    """Give a file that no worker can use a name that none looks for; returns it, None where another did."""
    numbered = (f"{path.name}{_UNREADABLE}{f'-{number}' if number else ''}" for number in count())
    with _translated(path):
        aside = next(place for place in map(path.with_name, numbered) if not os.path.lexists(place))
        try:
            path.rename(aside)
        except FileNotFoundError:
            return None
        return aside


def _is_version(suffix: str) -> bool:
    version = suffix.removeprefix(_ANY_VERSION)
    return suffix.startswith(_ANY_VERSION) and (not version or version.isdecimal())


def _lock(fd: int) -> bool:
    """Whether the file is ours now. One that was deleted meanwhile is not."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(fd).st_nlink > 0


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
