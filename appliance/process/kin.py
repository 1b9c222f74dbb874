"""The processes a task process left behind: found through /proc, killed by identity.

A process group covers most of them. One that moved to a session of its own is found by its parents
while those live, and by :data:`MARKER` in its environment afterwards. One that moved away *and* cleared its
environment *and* lost its parents before anybody looked stays undiscovered.
"""

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Environment variable that each task process carries with a value of its own, and its children inherit.
MARKER = "RUNQY_TASK_PROCESS"
#: Passes over /proc when killing: whoever forks while we look is found by the next one.
_PASSES = 5

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Relative:
    """A process by what cannot be recycled: its id together with its start time."""

    pid: int
    started_ticks: int


def find(leader: int, token: str) -> set[Relative]:
    """The living relatives of the process ``leader`` (itself included, while it lives)."""
    table = _processes()
    found = {pid for pid, row in table.items() if leader in (pid, row.group, row.session)}
    children: dict[int, list[int]] = {}
    for pid, row in table.items():
        children.setdefault(row.parent, []).append(pid)
    frontier = list(found)
    while frontier:
        for pid in children.get(frontier.pop(), ()):
            if pid not in found:
                found.add(pid)
                frontier.append(pid)
    mark = f"{MARKER}={token}".encode()
    found |= {pid for pid in table if pid not in found and _carries(pid, mark)}
    return {Relative(pid, table[pid].started_ticks) for pid in found}


def kill(leader: int, token: str, known: Iterable[Relative] = ()) -> int:
    """Kill every relative, and those ``known`` from before that still live; returns how many."""
    killed: set[Relative] = set()
    wanted = set(known)
    for _ in range(_PASSES):
        wanted = {one for one in wanted | find(leader, token) if one not in killed and _lives(one)}
        if not wanted:
            break
        for relative in wanted:
            send(relative.pid, signal.SIGKILL)
        killed |= wanted
    return len(killed)


def send(pid: int, number: signal.Signals) -> None:
    """Signal one process; that it is gone, or not ours to signal, is nothing to do."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def send_group(leader: int, number: signal.Signals) -> None:
    """The same for a process group."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return


@dataclass(frozen=True, slots=True)
class _Row:
    parent: int
    group: int
    session: int
    started_ticks: int


def _processes() -> dict[int, _Row]:
    """All processes that are not dead yet; empty where there is no /proc."""
    try:
        names = os.listdir(_PROC)  # noqa: PTH208  hot: runs at each exit, over all processes
    except OSError:
        return {}
    table = {}
    for name in names:
        if name.isdigit():
            row = _row(int(name))
            if row is not None:
                table[int(name)] = row
    return table


def _row(pid: int) -> _Row | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name in brackets may hold anything, brackets and spaces too; see proc_pid_stat(5).
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return _Row(int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _lives(relative: Relative) -> bool:
    row = _row(relative.pid)
    return row is not None and row.started_ticks == relative.started_ticks


def _carries(pid: int, mark: bytes) -> bool:
    try:
        environ = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False  # another user's, or gone
    return mark in environ.split(b"\0")
