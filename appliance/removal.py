"""Removing a whole folder that others filled, whatever is in it."""

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path


def remove_folder(folder: Path) -> None:
    """Remove ``folder`` with all that is in it, read-only folders too. Raises OSError.

    Python goes down a tree by calling itself, with a file descriptor a level; task code can make one that has
    more levels than either allows.
    """
    with suppress(OSError, RecursionError):
        shutil.rmtree(folder, onerror=_insist)
        return
    _flatten(folder)
    shutil.rmtree(folder, onerror=_insist)


def _flatten(top: Path) -> None:
    """Move every folder below ``top`` into it."""
    numbers = count()
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        folder.chmod(stat.S_IRWXU)
        with os.scandir(folder) as entries:
            below = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        waiting += below if folder == top else [_moved(path, top, numbers) for path in below]


def _moved(folder: Path, top: Path, numbers: "count[int]") -> Path:
    # A folder can be moved only by who may write to it: its entry for the folder above changes.
    folder.chmod(stat.S_IRWXU)
    while os.path.lexists(to := top / f"{next(numbers)}"):
        pass
    return folder.rename(to)


def _insist(do: Callable[[str], object], name: str, exc_info: tuple[type, BaseException, object]) -> None:
    """A read-only folder, as Go's module cache makes them, keeps its entries from going."""
    if isinstance(exc_info[1], FileNotFoundError):
        return
    if not isinstance(exc_info[1], PermissionError):
        raise exc_info[1]
    for place in (Path(name).parent, Path(name)):
        if not place.is_symlink():
            place.chmod(place.stat().st_mode | stat.S_IRWXU)
    if Path(name).is_dir() and not Path(name).is_symlink():
        shutil.rmtree(name)
    else:
        do(name)
