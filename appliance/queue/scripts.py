"""The Lua scripts, read once from the package: one operation a file, ``_queue.lua`` in front of each."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Self


@dataclass(frozen=True, slots=True)
class Script:
    """One script and the digest Redis knows it by."""

    name: str
    source: str
    digest: str

    @classmethod
    def of(cls, name: str, source: str) -> Self:
        """The script with this source."""
        return cls(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _load(name: str) -> Script:
    folder = files("appliance.queue") / "scripts"
    return Script.of(
        name, "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("_queue", name))
    )


TAKE = _load("take")
ACTIVATE = _load("activate")
COMPLETE = _load("complete")
RETRY = _load("retry")
ARCHIVE = _load("archive")
GIVE_BACK = _load("give_back")
DEFER = _load("defer")
EXTEND = _load("extend")
FORWARD = _load("forward")
EXPIRED = _load("expired")
STRANDED = _load("stranded")
RECLAIM = _load("reclaim")
RECONCILE = _load("reconcile")
PURGE = _load("purge")
INSPECT = _load("inspect")

ALL = (
    TAKE,
    ACTIVATE,
    COMPLETE,
    RETRY,
    ARCHIVE,
    GIVE_BACK,
    DEFER,
    EXTEND,
    FORWARD,
    EXPIRED,
    STRANDED,
    RECLAIM,
    RECONCILE,
    PURGE,
    INSPECT,
)
