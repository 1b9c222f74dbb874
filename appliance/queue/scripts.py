"""The Lua scripts, read once from the package: one operation a file, ``_queue.lua`` in front of each.

Redis runs all of a script's text each time, so what only some need stands by itself.
"""

import hashlib
from importlib.resources import files
from typing import Self

from appliance.values import value_class


@value_class(slots=True)
class Script:
    """One script and the digest Redis knows it by."""

    name: str
    source: str
    digest: str

    @classmethod
    def of(cls, name: str, source: str) -> Self:
        """The script with this source."""
        return cls(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _load(name: str, *shared: str) -> Script:
    folder = files("appliance.queue") / "scripts"
    parts = ("_queue", *shared, name)
    return Script.of(name, "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts))


TAKE = _load("take", "_claim")
ACTIVATE = _load("activate", "_claim")
COMPLETE = _load("complete")
RETRY = _load("retry")
ARCHIVE = _load("archive")
RETURN = _load("return")
DEFER = _load("defer")
EXTEND = _load("extend")
PROGRESS = _load("progress")
FORWARD = _load("forward")
LAPSED = _load("lapsed")
STRANDED = _load("stranded")
RECLAIM = _load("reclaim")
RECONCILE = _load("reconcile")
PURGE = _load("purge")
LOOK_AGAIN = _load("look_again")
INSPECT = _load("inspect")
DEPTHS = _load("depths")

ALL = (
    TAKE,
    ACTIVATE,
    COMPLETE,
    RETRY,
    ARCHIVE,
    RETURN,
    DEFER,
    EXTEND,
    PROGRESS,
    FORWARD,
    LAPSED,
    STRANDED,
    RECLAIM,
    RECONCILE,
    PURGE,
    LOOK_AGAIN,
    INSPECT,
    DEPTHS,
)
