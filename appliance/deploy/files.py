"""Records and folders of a deployment: written whole or not at all, removed whatever is in them."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import gevent


def read_json(path: Path) -> object:
    """The decoded content; None where there is no file, or none that can be decoded."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def write_json(path: Path, data: object) -> None:
    """Write ``data``; whoever reads finds the old content or the new, never a half. Raises OSError."""
    unfinished = path.with_name(path.name + ".new")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; nothing there is fine. Raises OSError.

    An environment can hold a hundred thousand files: that is done beside the event loop.
    """
    if path.is_dir() and not path.is_symlink():
        gevent.get_hub().threadpool.apply(_remove_folder, (path,))
    else:
        path.unlink(missing_ok=True)


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path, onerror=_insist)


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
