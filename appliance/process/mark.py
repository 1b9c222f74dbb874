"""The mark by which the descendants of a task process are known, whatever they do to hide.

It is a resource limit that limits nothing: tens of thousands of years of real-time scheduling, a different
number of microseconds for each task process. The kernel hands it on at every fork and exec, shows it to the
worker in ``/proc/<pid>/limits``, and lets no process without privileges raise it. Lowered, it is the mark of
no task process, which is a mark as well. Where the worker was started with such a limit itself, a variable
of the environment has to do, which a descendant can take off.
"""

import os
import resource
import secrets
import time
import weakref
from pathlib import Path

#: Environment variable with a value that is unique to each task process; its children inherit it.
MARKER = "RUNQY_TASK_PROCESS"
#: ``RLIMIT_RTTIME``; see setrlimit(2).
_LIMIT = 15
#: All marks have this bit, which leaves them below what Python can set.
_BIT = 1 << 61

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
#: Start times are rounded, and clocks may differ by a little: a process older than the mark by more has none.
_EARLIER_TICKS = _TICKS_PER_S


class Mark:
    """One task process's; it counts as one while the object lives."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)
        self._number = _BIT | secrets.randbits(60) if _unlimited() else None
        self._made_ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_S)
        if self._number is not None:
            _NUMBERS[self._number] = self

    @property
    def environment(self) -> dict[str, str]:
        """What the process must have in its environment."""
        return {MARKER: self._token}

    def put_on(self) -> None:
        """Between fork and exec: this process and its descendants carry the mark from now on."""
        if self._number is not None:
            resource.setrlimit(_LIMIT, (self._number, self._number))

    def is_on(self, pid: int, started_ticks: int) -> bool:
        """Whether the process carries it; it started so many of the kernel's ticks after the machine did."""
        if started_ticks < self._made_ticks - _EARLIER_TICKS:
            # Most of them: a mark is inherited, so what was there before does not carry it.
            # To read the limits of all would be most of the work.
            return False
        if self._number is not None:
            return _limit(pid) == self._number
        return f"{MARKER}={self._token}".encode() in _environment(pid)


def is_stray(pid: int) -> bool:
    """Whether the process carries a mark of no task process that is left: an earlier one's, or changed."""
    limit = _limit(pid)
    return _unlimited() and limit is not None and limit not in _NUMBERS


#: The marks in use.
_NUMBERS: weakref.WeakValueDictionary[int, Mark] = weakref.WeakValueDictionary()


def _unlimited() -> bool:
    return resource.getrlimit(_LIMIT)[1] == resource.RLIM_INFINITY


def _limit(pid: int) -> int | None:
    """The hard limit; None where it has none, or the process is gone."""
    try:
        with open(f"/proc/{pid}/limits", "rb", buffering=0) as limits:  # noqa: PTH123  hot
            lines = limits.read().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(b"Max realtime timeout"):
            hard = line.split()[4]
            return int(hard) if hard.isdigit() else None
    return None


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []  # it belongs to another user, or is gone
