"""Rules of domains, kept from one start to the next: for code with a process for each task they count."""

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gevent

from appliance.isolation import landlock
from appliance.isolation.domain import Domain, rules

#: Domains whose rules are kept: a few for each parent queue.
_KEPT = 32

#: When a folder was last changed, and which it is.
_Stamp = tuple[int, int, int] | None


class _Made(NamedTuple):
    ruleset: int
    folders: dict[Path, _Stamp]


class Rulesets:
    """Makes rules, and again when a folder that they name entries of has changed."""

    def __init__(self, abi: int) -> None:
        self._abi = abi
        self._made: OrderedDict[object, _Made] = OrderedDict()

    def get(self, domain: Domain) -> int:
        """The rules of ``domain`` as a descriptor, the caller's to close; raises OSError."""
        key = (tuple(sorted(domain.paths.items())), domain.elsewhere, domain.scoped)
        made = self._made.pop(key, None)
        if made is None or any(_stamp(folder) != stamp for folder, stamp in made.folders.items()):
            if made is not None:
                os.close(made.ruleset)
            # In a thread: the way may lead past a network file system that hangs.
            made = gevent.get_hub().threadpool.apply(self._make, (domain,))
        if key in self._made:
            # Another start made the same meanwhile.
            os.close(self._made.pop(key).ruleset)
        self._made[key] = made
        if len(self._made) > _KEPT:
            os.close(self._made.popitem(last=False)[1].ruleset)
        return os.dup(made.ruleset)

    def _make(self, domain: Domain) -> _Made:
        folders: dict[Path, _Stamp] = {}
        scoped = domain.scoped and self._abi >= landlock.SCOPES_ABI
        ruleset = landlock.make(rules(domain, _lister(folders)), abi=self._abi, scoped=scoped)
        return _Made(ruleset, folders)


def _lister(folders: dict[Path, _Stamp]) -> Callable[[Path], list[Path]]:
    """Lists folders, and notes which and as of when."""

    def entries(folder: Path) -> list[Path]:
        # Before the listing: what is made during it is then found to be new.
        folders[folder] = _stamp(folder)
        try:
            with os.scandir(folder) as found:
                return [folder / entry.name for entry in found if not entry.is_symlink()]
        except OSError as exc:
            if exc.errno in landlock.EXHAUSTED:
                # Rules are kept: what was missing in them would be closed to all later starts.
                raise
            return []

    return entries


def _stamp(folder: Path) -> _Stamp:
    try:
        found = folder.stat()
    except OSError:
        return None
    # Not st_mtime, which task code may set to what it was, also of a folder that is closed to it.
    return found.st_ctime_ns, found.st_ino, found.st_dev
