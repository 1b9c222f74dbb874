"""The processes a task process left behind: found through /proc, killed by identity.

A process group covers most of them. One that moved to another session is found by its parents while those
live, and by its :mod:`~appliance.process.mark` afterwards. One that changed its mark has become a child of
the worker's when it lost its parents (:func:`~appliance.isolation.hardening.adopt`), and is found there.
"""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from appliance.process.mark import Mark, is_stray
from appliance.values import value_class

#: Passes over /proc when killing: what is forked during one pass is found by the next.
_PASSES = 5

_PROC = Path("/proc")


@value_class(slots=True)
class Relative:
    """A process by what cannot be recycled: its id together with its start time."""

    pid: int
    started_ticks: int


class Relatives:
    """The relatives of one task process, including those seen earlier that could not be found again."""

    def __init__(self) -> None:
        self.mark = Mark()
        self._known: set[Relative] = set()

    def look(self, leader: int) -> None:
        """Remember the relatives of the process ``leader`` that can be found now."""
        self._known |= find(leader, self.mark)

    def kill(self, leader: int) -> None:
        """Kill every relative that was ever found and still lives."""
        # The group at once, before /proc is read: it covers most, also those that fork quickly.
        send_group(leader, signal.SIGKILL)
        kill(leader, self.mark, self._known)


def find(leader: int, mark: Mark) -> set[Relative]:
    """The living relatives of the process ``leader`` (itself included, while it lives)."""
    table = _processes()
    found = {pid for pid, row in table.items() if leader in (pid, row.group, row.session)}
    # What the worker adopted, and no task process that is left can have started.
    worker = os.getpid()
    found |= {pid for pid, row in table.items() if row.parent == worker and is_stray(pid)}
    children: dict[int, list[int]] = {}
    for pid, row in table.items():
        children.setdefault(row.parent, []).append(pid)
    # Down from there: a descendant may lead another session, with children that neither check above covers.
    frontier = list(found)
    while frontier:
        for pid in children.get(frontier.pop(), ()):
            if pid not in found:
                found.add(pid)
                frontier.append(pid)
    # The costly part, and last: it reads a file for each process that was not found otherwise.
    found |= {pid for pid, row in table.items() if pid not in found and mark.is_on(pid, row.started_ticks)}
    return {Relative(pid, table[pid].started_ticks) for pid in found}


def kill(leader: int, mark: Mark, known: Iterable[Relative] = ()) -> int:
    """Kill every relative, and those ``known`` from before that still live; returns how many."""
    # By identity, and each once: an id may have been given to a stranger since, and a killed process that
    # waits to be reaped still looks alive.
    killed: set[Relative] = set()
    wanted = set(known)
    for _ in range(_PASSES):
        wanted = {one for one in wanted | find(leader, mark) if one not in killed and _lives(one)}
        if not wanted:
            break
        for relative in wanted:
            send(relative.pid, signal.SIGKILL)
        killed |= wanted
    return len(killed)


def send(pid: int, number: signal.Signals) -> None:
    """Signal one process; one that is gone, or that we may not signal, is left alone."""
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


@value_class(slots=True)
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
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123  hot, as above
            stat = file.read()
    except OSError:
        return None
    # The name in brackets may hold anything, brackets and spaces too; see proc_pid_stat(5).
    fields = stat[stat.rindex(b")") + 2 :].split()
    # A zombie cannot be killed, and ends when its parent waits for it.
    if fields[0] in (b"Z", b"X"):
        return None
    return _Row(int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _lives(relative: Relative) -> bool:
    row = _row(relative.pid)
    return row is not None and row.started_ticks == relative.started_ticks
