"""A clock that is wrong: a worker that believes it is earlier or later than it is (libfaketime)."""

from collections.abc import Mapping
from pathlib import Path

_PLACES = (
    "/usr/lib/*/faketime",
    "/usr/lib/faketime",
    "/usr/local/lib/faketime",
    "/opt/homebrew/lib/faketime",
)
# The variant for programs with threads.
_LIBRARY = "libfaketimeMT.so.1"
_SHARED = Path("/dev/shm")  # noqa: S108  where Linux has shared memory and semaphores


class Unavailable(Exception):
    """libfaketime is not installed."""


def find_library() -> Path:
    """libfaketime. Raises :class:`Unavailable`."""
    for place in _PLACES:
        root, _, pattern = place.lstrip("/").partition("/")
        for found in sorted(Path("/", root).glob(f"{pattern}/{_LIBRARY}")):
            return found
    raise Unavailable("a wrong clock takes libfaketime (Debian: apt-get install faketime)")


def skewed(offset_s: float) -> Mapping[str, str]:
    """Variables for a program, and for all it starts, whose wall clock is ``offset_s`` ahead (behind: less
    than 0). What measures durations (the monotonic clock) is right. Raises :class:`Unavailable`.

    Python's own ``time.sleep`` does not survive it (libfaketime shifts absolute times of the monotonic clock
    nevertheless); gevent's does. Task code is better started through ``env -u LD_PRELOAD``.
    """
    return {
        "LD_PRELOAD": str(find_library()),
        "FAKETIME": f"{offset_s:+f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


def clear_away(pid: int) -> None:
    """Remove what a program with a wrong clock shares with those it starts and, killed, leaves behind."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        (_SHARED / name).unlink(missing_ok=True)
