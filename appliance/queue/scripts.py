"""The Lua scripts, read once from the package: one operation a file, ``_queue.lua`` in front of each."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One script and the digest Redis knows it by."""

    name: str
    source: str
    digest: str


def _load(name: str) -> Script:
    folder = files("appliance.queue") / "scripts"
    source = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("_queue", name))
    digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, digest)


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
)
