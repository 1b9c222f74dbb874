"""A disk that is full: a small file system, mounted where a worker deploys.

Making one takes root and the right to mount; where either is missing there is no trick that gives the
same error (ENOSPC), and :class:`Unavailable` says so.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.failure import uninterrupted

_TIMEOUT_S = 30
_FILLER = "filler-of-the-harness"


class Unavailable(Exception):
    """This fault cannot be had here; the message says what it needs."""


class SmallDisk:
    """What :func:`small_disk` mounted; ``folder`` is its root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def full(self, spare_bytes: int = 0) -> Iterator[None]:
        """Inside, no more than ``spare_bytes`` can be written."""
        filler = self.folder / _FILLER
        free = os.statvfs(self.folder)
        left = free.f_bavail * free.f_frsize - spare_bytes
        with filler.open("wb") as out:
            os.posix_fallocate(out.fileno(), 0, max(1, left))
        try:
            yield
        finally:
            filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Inside, ``folder`` is an empty file system of ``size_bytes``; afterwards it is what it was.

    Raises :class:`Unavailable`.
    """
    if os.geteuid() != 0:
        raise Unavailable("a full disk takes a small file system, and only root may mount one")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with uninterrupted():
            mounted = _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "runqy-harness", str(folder))
        if mounted.returncode != 0:
            said = mounted.stderr.strip()
            raise Unavailable(f"a full disk takes a small file system, and mounting one failed: {said}")
        yield SmallDisk(folder)
    finally:
        with uninterrupted():
            if folder.is_mount():
                # Lazily: a process that still stands in there must not keep it mounted for ever.
                _run("umount", "--lazy", str(folder))


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            # Out of reach of a terminal's Ctrl-C, which would end it halfway.
            start_new_session=True,
        )
    except FileNotFoundError as exc:
        raise Unavailable(f"a full disk takes the program {command[0]}, which is not there") from exc
