"""From a command line to a running program with three pipes.

The program leads its own session, so that signals reach its whole process group, and the kernel kills
it when the worker dies, by SIGKILL as well (Linux).
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from gevent.os import make_nonblocking
from gevent.subprocess import Popen, SubprocessError

from appliance.isolation.confinement import Confine, Enter, unconfined
from appliance.process.environ import Room
from appliance.process.mark import Mark
from appliance.process.protocol import MAX_LINE_BYTES
from appliance.values import value_class

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec another thread's lock may be held for ever, so no imports.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

#: Linux: pages of one argument or variable, and bytes of all of them whatever the stack's limit (execve(2)).
_ARGUMENT_PAGES = 32
_MOST_ARGUMENT_BYTES = 6 * 1024 * 1024
#: What the kernel and the worker's own mark need beside them.
_ARGUMENT_RESERVE = 8192


def room_for_arguments() -> Room:
    """What this machine lets a program be started with."""
    return Room(
        one=_ARGUMENT_PAGES * os.sysconf("SC_PAGE_SIZE"),
        all=min(os.sysconf("SC_ARG_MAX"), _MOST_ARGUMENT_BYTES) - _ARGUMENT_RESERVE,
    )


@value_class
class Launch:
    """What to run: ``env`` is the whole environment, ``cwd`` exists, ``confine`` is what it is held to.

    ``max_line_bytes`` is the longest line that is read of its standard output.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    confine: Confine = unconfined
    max_line_bytes: int = MAX_LINE_BYTES


@value_class
class Launched:
    """A program that runs, and the worker's ends of its pipes, which do not block."""

    process: "Popen[bytes]"
    stdin: int
    stdout: int
    stderr: int


class Launcher:
    """Starts one program; :attr:`pid` is known before :meth:`run` returns, which may hang (a dead NFS)."""

    def __init__(self, launch: Launch, mark: Mark) -> None:
        self._launch = launch
        self._mark = mark
        self._process: Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id from the fork on, which is before the program runs."""
        return self._process.pid if self._process else None

    def run(self) -> Launched:
        """Start the program; raises OSError or ValueError where that is not possible."""
        with self._launch.confine() as enter, ExitStack() as on_error, ExitStack() as theirs:
            stdin, our_stdin = _pipe(theirs, on_error)
            our_stdout, stdout = _pipe(on_error, theirs)
            our_stderr, stderr = _pipe(on_error, theirs)
            # Only our ends: programs do not expect a standard stream that returns EAGAIN.
            for ours in (our_stdin, our_stdout, our_stderr):
                make_nonblocking(ours)
            process = self._start(stdin, stdout, stderr, partial(_become, os.getpid(), self._mark, enter))
            # From here on our ends are the caller's. Theirs are closed in any case: the pipes must end when
            # the process does.
            on_error.pop_all()
        return Launched(process, our_stdin, our_stdout, our_stderr)

    def _start(self, stdin: int, stdout: int, stderr: int, become: Enter) -> "Popen[bytes]":
        try:
            return _KnownFromFork(
                partial(setattr, self, "_process"),
                self._launch.argv,
                cwd=self._launch.cwd,
                env={**self._launch.env, **self._mark.environment},
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                # Its own session, hence its own group: a signal to the worker's terminal does not reach it.
                start_new_session=True,
                preexec_fn=become,
            )
        except SubprocessError as exc:
            # What went wrong before the program ran is not passed on by the child.
            raise OSError(f"the kernel refused what it is to be held to: {exc}") from exc


def _pipe(keep_reader: ExitStack, keep_writer: ExitStack) -> tuple[int, int]:
    """Make a pipe whose ends are closed when their stack unwinds."""
    reader, writer = os.pipe()
    keep_reader.callback(os.close, reader)
    keep_writer.callback(os.close, writer)
    return reader, writer


class _KnownFromFork(Popen[bytes]):
    """Known to the launcher before it is complete: Popen's constructor returns only when the program runs."""

    def __init__(self, tell: Callable[["Popen[bytes]"], None], *arguments: Any, **options: Any) -> None:
        # First: the constructor below may hang for good, and then only the pid can end it.
        tell(self)
        super().__init__(*arguments, **options)


def _become(parent_pid: int, mark: Mark, enter: Enter) -> None:
    """Between fork and exec."""
    _die_with(parent_pid)
    mark.put_on()
    # Last: from here on this process may do no more than the program that it becomes.
    enter()


def _die_with(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the worker dies, however it does."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The worker may have died between the fork and the request; then no signal will ever come.
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
