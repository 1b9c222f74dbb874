"""Faults of programs: workers, their task processes, Redis. A pid is all they need."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Protocol

import psutil


class HasChildren(Protocol):
    """A worker, wherever it runs."""

    def children(self) -> list[int]:
        """Processes it started, and theirs."""


def kill(pid: int) -> None:
    """End a process without asking (SIGKILL); one that has ended already stays ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Inside, the process stands still (SIGSTOP) with all its connections open; afterwards it goes on."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def task_processes(worker: HasChildren, words: Sequence[str]) -> list[int]:
    """Those of the worker's processes whose command line has ``words`` in it, such as ``main.py``."""
    return [pid for pid in worker.children() if set(words) <= set(_command_line(pid))]


def _command_line(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []  # gone meanwhile
