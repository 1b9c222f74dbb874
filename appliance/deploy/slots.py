"""Which folder a deployment goes into, so that nothing changes under a process that runs from one.

``{dir}/{parent}`` is the first slot; ``{parent}.2``, ``{parent}.3`` … are made when those before are in use.
Parent queues have no dot in their names, so no queue's folder can be meant. Whoever runs from a slot
holds a shared lock (the kernel's, ``flock``: it ends with its holder) on ``.{slot}.used`` beside it, and a
slot that anybody holds is *frozen*: it may serve as it is, and is never written to.

The slot that was brought up to date last is tried first. So one slot is all there ever is, unless code
changes while a worker runs, and the next start finds warm what the last redeployment made.
"""

import fcntl
import os
import re
from itertools import count, islice
from pathlib import Path

#: Inside ``.git`` of a slot: written each time it was brought up to date.
RECORD = "runqy.json"


def candidates(folder: Path, parent: str) -> list[Path]:
    """The slots of ``parent`` in ``folder``: finished ones, the latest first, then a new one."""
    pattern = re.compile(rf"{re.escape(parent)}(\.[0-9]+)?")
    there = [entry for entry in folder.iterdir() if pattern.fullmatch(entry.name)]
    finished = {entry: made for entry in there if (made := _made_s(entry)) is not None}
    names = (parent if number == 1 else f"{parent}.{number}" for number in count(1))
    fresh = (slot for name in names if (slot := folder / name) not in finished)
    return [*sorted(finished, key=lambda slot: -finished[slot]), *islice(fresh, 1)]


def in_use(slot: Path) -> bool:
    """Whether a worker, this one or another, runs from the slot; only for who holds the folder's lock."""
    try:
        fd = os.open(_lock_of(slot), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no locks on this file system: the folder's lock has said so
    finally:
        os.close(fd)
    return False


class Uses:
    """The slots that one parent queue's processes run from, or are about to."""

    def __init__(self) -> None:
        self._held: dict[Path, int] = {}

    def __contains__(self, slot: Path) -> bool:
        return slot in self._held

    def take(self, slot: Path) -> None:
        """Freeze the slot; only for who holds the folder's lock."""
        if slot in self._held:
            return
        # Not removed at the end, as the folder's own: another worker may be looking at it.
        fd = os.open(_lock_of(slot), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._held[slot] = fd
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return  # no locks here: at least we know of it ourselves

    def keep_only(self, folders: set[Path]) -> None:
        """Let go of all slots but those in which one of ``folders`` lies."""
        for slot in [one for one in self._held if not any(f.is_relative_to(one) for f in folders)]:
            os.close(self._held.pop(slot))


def _made_s(slot: Path) -> float | None:
    try:
        return (slot / ".git" / RECORD).stat().st_mtime
    except OSError:
        return None


def _lock_of(slot: Path) -> Path:
    return slot.with_name(f".{slot.name}.used")
