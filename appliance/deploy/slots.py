"""Which folder a deployment goes into, so that nothing changes under a process that runs from one.

``{dir}/{parent}`` is the first slot; ``{parent}.2``, ``{parent}.3`` … are made when those before are in use.
Parent queues have no dot in their names, so no other queue's folder can have such a name. Task code may write
to that folder and to nothing else of ``{dir}``: its environment (``.{slot}.venv``) and what the worker keeps
for itself (``.{slot}.worker``: git's folder and the records) lie beside it.

A worker that runs from a slot holds a shared lock (the kernel's, ``flock``: it ends with its holder) on
``.{slot}.used``. A slot that is held is *frozen*: it may serve as it is, and is never written to.

The slot that was brought up to date last is tried first. So one slot is all there ever is, unless code
changes while a worker runs, and the next start finds warm what the last redeployment made.
"""

import fcntl
import os
import re
from itertools import count, islice
from pathlib import Path

from appliance.values import value_class


@value_class
class Slot:
    """The places of one deployment; ``folder`` is the one that task code lies in and may write to."""

    folder: Path

    @property
    def kept(self) -> Path:
        """What the worker keeps for itself."""
        return self._beside("worker")

    @property
    def git_dir(self) -> Path:
        """Git's folder, whose configuration decides which programs git runs."""
        return self.kept / "git"

    @property
    def checkout_record(self) -> Path:
        """Written each time the code was brought up to date."""
        return self.kept / "checkout.json"

    @property
    def environment_record(self) -> Path:
        """What is installed."""
        return self.kept / "environment.json"

    @property
    def venv_dir(self) -> Path:
        """The environment."""
        return self._beside("venv")

    @property
    def unfinished(self) -> "Slot":
        """Where the next clone is made, before it takes the place of this one."""
        return Slot(self._beside("new"))

    @property
    def replaced(self) -> "Slot":
        """Where this one goes while another takes its place."""
        return Slot(self._beside("old"))

    def _beside(self, what: str) -> Path:
        return self.folder.with_name(f".{self.folder.name.removeprefix('.')}.{what}")


def candidates(folder: Path, parent: str) -> list[Slot]:
    """The slots of ``parent`` in ``folder``: finished ones, the latest first, then a new one."""
    pattern = re.compile(rf"{re.escape(parent)}(\.[0-9]+)?")
    there = [Slot(entry) for entry in folder.iterdir() if pattern.fullmatch(entry.name)]
    finished = {slot: made for slot in there if (made := _made_s(slot)) is not None}
    names = (parent if number == 1 else f"{parent}.{number}" for number in count(1))
    fresh = (slot for name in names if (slot := Slot(folder / name)) not in finished)
    return [*sorted(finished, key=lambda slot: -finished[slot]), *islice(fresh, 1)]


def in_use(folder: Path) -> bool:
    """Whether a worker, this one or another, runs from the slot. The caller holds the parent queue's lock."""
    try:
        fd = os.open(_lock_of(folder), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
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

    def __contains__(self, folder: Path) -> bool:
        return folder in self._held

    def take(self, folder: Path) -> None:
        """Freeze the slot. The caller holds the parent queue's lock."""
        if folder in self._held:
            return
        # Not removed at the end, as the folder's own: another worker may be looking at it.
        fd = os.open(_lock_of(folder), os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._held[folder] = fd
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return  # no locks here: then only this worker knows

    def keep_only(self, folders: set[Path]) -> None:
        """Release all slots but those in which one of ``folders`` lies."""
        for slot in [one for one in self._held if not any(f.is_relative_to(one) for f in folders)]:
            os.close(self._held.pop(slot))


def _made_s(slot: Slot) -> float | None:
    try:
        return slot.checkout_record.stat().st_mtime
    except OSError:
        return None


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.used")
