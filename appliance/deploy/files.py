"""Records and folders of a deployment: written whole or not at all, removed whatever is in them."""

import errno
import json
import os
import stat
from pathlib import Path

import gevent

from appliance.removal import remove_folder

#: Bytes of a record that are read.
_LONGEST_RECORD = 1024 * 1024
#: Seconds for which a stop waits for what is being removed.
_ENDING_S = 2.0


def read_json(path: Path) -> object:
    """The decoded content; None where there is no file, or none that can be decoded."""
    try:
        return json.loads(read_beginning(path, _LONGEST_RECORD))
    except (OSError, ValueError, RecursionError):
        return None


def read_beginning(path: Path, longest: int) -> bytes:
    """At most so many bytes of a regular file; a device, a pipe or what never ends must not hold up a worker.

    Raises OSError.
    """
    # Opening a pipe waits for its writer, unless told not to.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:  # noqa: PTH123  Path cannot open a descriptor
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(longest)


def write_json(path: Path, data: object) -> None:
    """Write ``data``; a reader finds the old content or the new, never a half. Raises OSError."""
    write_text(path, json.dumps(data), lasting=True)


def write_text(path: Path, text: str, *, lasting: bool = False) -> None:
    """Put a file with ``text`` at ``path``, whatever is there; with ``lasting`` it survives a power cut.

    The file is always a new one: what another program put there, such as a link to a file that is not to be
    written, is replaced and never written to. Raises OSError.
    """
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123  Path has no exclusive open of a descriptor
        file.write(text)
        file.flush()
        if lasting:
            os.fsync(file.fileno())
    unfinished.replace(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; nothing there is fine. Raises OSError.

    An environment can hold a hundred thousand files: that is done beside the event loop.
    """
    if path.is_dir() and not path.is_symlink():
        removing = gevent.get_hub().threadpool.spawn(remove_folder, path)
        try:
            removing.get()
        finally:
            # A stop ends this wait: who gets the lock next makes the same folder again.
            gevent.wait([removing], _ENDING_S)
    else:
        path.unlink(missing_ok=True)
