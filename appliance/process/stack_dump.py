"""The stacks that Python's faulthandler writes to stderr: asked for, found again, and put into words.

faulthandler is on in every task process (``PYTHONFAULTHANDLER``). It writes where each thread stands when
the process dies of a fault (SIGSEGV, SIGFPE, SIGABRT, SIGBUS, SIGILL), and so SIGABRT is the way to ask for
that. It is no end that a process can refuse, so it comes where SIGTERM would end it as hard, or just before
SIGKILL.
"""

import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil

#: Seconds a process gets to write its stacks before the next step.
WRITE_S = 2.0
#: Lines of stacks kept in a text about a task.
MOST_LINES = 40

_FATAL = "Fatal Python error: "
_CURRENT = "Current thread "
_FRAME = "  File "


def catches(pid: int, number: signal.Signals, proc: Path = Path("/proc")) -> bool:
    """Whether the process has a handler for the signal; False for one that is gone."""
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def dumper(pid: int) -> int | None:
    """The process to ask for its stacks: ``pid``, or what a script of that pid started; None for none."""
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return None
    return next((one for one in family if catches(one, signal.SIGABRT)), None)


def ask(pid: int) -> None:
    """Have the process write its stacks and die."""
    try:
        # Not a core file of a process with a model in its memory; 1, since a pipe to a program ignores 0.
        _, hard = resource.prlimit(pid, resource.RLIMIT_CORE)
        soft = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
        resource.prlimit(pid, resource.RLIMIT_CORE, (soft, hard))
        os.kill(pid, signal.SIGABRT)
    except (OSError, ValueError):
        pass  # it has ended meanwhile, or is not ours any more


def found(lines: Sequence[str]) -> tuple[str, ...]:
    """The last stacks among lines of stderr, those of the thread with the fault first; empty for none."""
    starts = [at for at, line in enumerate(lines) if line.startswith(_FATAL)]
    if not starts:
        return ()
    fatal, *rest = lines[starts[-1] :]
    threads: list[list[str]] = []
    for line in rest:
        if line.endswith("(most recent call first):"):
            threads.append([line])
        elif line.startswith(_FRAME) and threads:
            threads[-1].append(line)
    threads.sort(key=lambda thread: not thread[0].startswith(_CURRENT))
    return (fatal, *(line for thread in threads for line in thread))[:MOST_LINES]


def headline(stacks: Sequence[str]) -> str:
    """One line: the fault, and where the thread stood that had it."""
    frame = next((line.strip() for line in stacks if line.startswith(_FRAME)), "")
    return f"{stacks[0]}, {frame}" if frame else stacks[0]
