"""One OS process: its birth, its three pipes, its end. No policy: whoever holds it decides what to do.

What it guarantees:

- Nothing here blocks the hub: not a process that stops reading, nor one that never stops printing.
- The process is a session of its own and dies with the worker, on SIGKILL as well (Linux).
- Its exit is reported once, after the last byte of its output, and after its descendants are gone. A
  descendant that holds a pipe open delays that by :data:`DRAIN_S`, one that also escapes being found by
  :data:`LEFTOVER_S` more, not for ever.
- It is waited for by its own pid; no descriptor and no zombie stays behind.
"""

import ctypes
import os
import secrets
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import gevent
import structlog
from gevent.event import Event
from gevent.os import make_nonblocking, nb_read, nb_write
from gevent.subprocess import Popen

from appliance.clock import Clock
from appliance.process import autopsy, kin, protocol
from appliance.process.lines import LineSplitter

log = structlog.get_logger()

#: Seconds after the exit in which a descendant may still write to our pipes.
DRAIN_S = 1.0
#: Seconds, at most, for reading what is left when a descendant that was not found goes on writing.
LEFTOVER_S = 5.0
#: Seconds a process may live with a closed stdin or stdout before it counts as broken: one that is
#: about to exit closes them too.
CLOSED_GRACE_S = 1.0
#: Seconds, at least, between fork and exec before a process that is to end counts as stuck there.
SPAWN_S = 1.0
#: Seconds for a killed process to vanish. One that hangs in the kernel (a dead NFS, a GPU driver) may
#: never do; the worker goes on without it.
UNKILLABLE_S = 10.0
#: Seconds until the first look at memory, and between the others.
FIRST_SAMPLE_S = 0.2
SAMPLE_S = 2.0
#: How many of the last stderr lines are kept, and how much of each, in characters.
TAIL_LINES = 50
TAIL_CHARS = 2000

_CHUNK_BYTES = 65_536
#: Chunks and lines handled between two turns for everybody else.
_BREATH = 32
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec there is no room for imports.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Launch:
    """What to run. ``env`` is the whole environment; ``cwd`` must exist."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]


@dataclass(frozen=True)
class ProcessExit:
    """How a process ended. ``returncode`` is None for one that never started (or never vanished)."""

    text: str
    returncode: int | None
    at_monotonic_s: float
    uptime_s: float
    stderr_tail: tuple[str, ...]
    memory_peak_bytes: int | None


class Listener(Protocol):
    """Who is told; each call comes from a greenlet of the child's and must not block."""

    def on_event(self, event: protocol.Ready | protocol.StartError | protocol.Answer) -> None:
        """The process said something of the protocol."""

    def on_output(self, source: str, text: str) -> None:
        """The process printed a line; ``source`` is stdout or stderr, ``text`` is redacted."""

    def on_broken(self, what: str) -> None:
        """The process lives but can no longer work; ``what`` it did."""

    def on_exit(self, ended: ProcessExit) -> None:
        """The process and its descendants are gone. The last call."""


class Child:
    """See the module. :meth:`start` first; everything else may be called at any time after."""

    def __init__(
        self, launch: Launch, listener: Listener, clock: Clock, redact: Callable[[str], str]
    ) -> None:
        self._launch = launch
        self._listener = listener
        self._clock = clock
        self._token = secrets.token_hex(8)
        self._process: Popen[bytes] | None = None
        self._newborn: Popen[bytes] | None = None
        self._started_s = 0.0
        self._spawned = Event()  # started, or failed to
        self._gone = Event()  # exited, or given up on
        self._ended = Event()  # reported
        self._stdin: int | None = None
        self._backlog: deque[memoryview] = deque()
        self._flush_due = False
        self._writing = False
        self._more_input = Event()
        self._last_input = False
        self._writer: gevent.Greenlet[..., object] | None = None
        self._ender: gevent.Greenlet[..., object] | None = None
        self._asked_to_terminate = False
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._decoder = protocol.Decoder()
        self._progress = 0
        self._stdout_lines = LineSplitter(self._stdout_line, redact)
        self._stderr_lines = LineSplitter(self._stderr_line, redact)
        self._oom_kills: deque[int | None] = deque(maxlen=2)
        self._memory_peak_bytes: int | None = None
        self._relatives: set[kin.Relative] = set()

    @property
    def pid(self) -> int | None:
        """Its process id, its group's and session's too; None before it started and after it ended."""
        return self._process.pid if self._process and not self._gone.is_set() else None

    def start(self) -> None:
        """Begin; returns at once. That it could not be started is an exit like others."""
        gevent.spawn(self._live)

    def send(self, line: bytes) -> None:
        """Write a line to its stdin. What it does not read waits here, in order, until its end."""
        if self._last_input or self._gone.is_set():
            return
        self._backlog.append(memoryview(line))
        if not self._flush_due:
            # When the loop turns next: lines that are sent together are written together.
            self._flush_due = True
            gevent.get_hub().loop.run_callback(self._flush)

    def close_input(self) -> None:
        """Close its stdin once everything sent has been written."""
        self._last_input = True
        self._more_input.set()

    def end(self, *, ask_s: float, grace_s: float) -> None:
        """End it in steps; returns at once. Called again, the new times replace the old.

        Ask: close its stdin behind what was sent and wait ``ask_s`` (0 skips this step, and what was
        not yet written is dropped). Terminate: SIGTERM to its group, once, and wait ``grace_s``. Kill.
        The order is the public SDK's: idle it ends only by the end of its stdin, it drops a
        line that it reads after SIGTERM, and a second SIGTERM makes it quit its task.
        """
        if self._ender is not None:
            self._ender.kill(block=False)
        self._ender = gevent.spawn(self._end_in_steps, ask_s, grace_s)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until its exit was reported; False when that takes longer."""
        return self._ended.wait(timeout_s)

    # Life ----------------------------------------------------------------------------------------

    def _live(self) -> None:
        self._started_s = self._clock.monotonic()
        self._oom_kills.append(autopsy.oom_kills())
        try:
            process, stdout, stderr = self._spawn()
        except (OSError, ValueError) as exc:
            self._report(f"could not be started: {exc}", None, self._clock.monotonic())
            return
        if self._ended.is_set():
            # Given up on before it was born: nobody waits for what it would say.
            self._drop_input()
            os.close(stdout)
            os.close(stderr)
            return
        readers: list[gevent.Greenlet[..., object]] = [
            gevent.spawn(self._read, stdout, self._from_stdout),
            gevent.spawn(self._read, stderr, self._stderr_lines.feed),
        ]
        readers[0].link(lambda _: self._complain("closed its stdout"))
        self._writer = gevent.spawn(self._write)
        waiter = gevent.spawn(process.wait)
        waiter.link(lambda _: self._gone.set())
        self._spawned.set()
        pause_s = FIRST_SAMPLE_S
        while not self._gone.wait(pause_s):
            self._sample(process.pid)
            pause_s = SAMPLE_S
        at_s = self._clock.monotonic()
        text = self._exit_text(process.returncode)
        self._bury(process.pid, readers)
        os.close(stdout)
        os.close(stderr)
        self._report(text, process.returncode, at_s)

    def _spawn(self) -> tuple["Popen[bytes]", int, int]:
        with ExitStack() as on_error, ExitStack() as theirs:
            stdin, self._stdin = _pipe(theirs, on_error)
            ours_out, stdout = _pipe(on_error, theirs)
            ours_err, stderr = _pipe(on_error, theirs)
            for ours in (self._stdin, ours_out, ours_err):
                make_nonblocking(ours)
            on_error.callback(setattr, self, "_stdin", None)
            self._process = _Newborn(
                partial(setattr, self, "_newborn"),
                self._launch.argv,
                cwd=self._launch.cwd,
                env={**self._launch.env, kin.MARKER: self._token},
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=partial(_die_with, os.getpid()),
            )
            on_error.pop_all()
        return self._process, ours_out, ours_err

    def _bury(self, pid: int, readers: list["gevent.Greenlet[..., object]"]) -> None:
        """Read what is left, end whoever is left, close what is ours."""
        gevent.joinall(readers, timeout=DRAIN_S)
        kin.send_group(pid, signal.SIGKILL)
        kin.kill(pid, self._token, self._relatives)
        # Now the pipes end, unless somebody undiscovered holds them.
        before, deadline_s = -1, self._clock.monotonic() + LEFTOVER_S
        while before != self._progress and any(not reader.dead for reader in readers):
            if self._clock.monotonic() >= deadline_s:
                break
            before = self._progress
            gevent.joinall(readers, timeout=DRAIN_S)
        gevent.killall(readers)
        self._drop_input()
        for event in self._decoder.end():
            self._take(event)
        self._stdout_lines.end()
        self._stderr_lines.end()

    def _report(self, text: str, returncode: int | None, at_s: float) -> None:
        self._gone.set()
        self._spawned.set()
        ended = ProcessExit(
            text=text,
            returncode=returncode,
            at_monotonic_s=at_s,
            uptime_s=at_s - self._started_s,
            stderr_tail=tuple(self._tail),
            memory_peak_bytes=self._memory_peak_bytes,
        )
        try:
            self._listener.on_exit(ended)
        finally:
            self._ended.set()

    def _exit_text(self, returncode: int | None) -> str:
        if returncode is None:
            return f"did not vanish within {UNKILLABLE_S:g} s of SIGKILL"
        before, now = self._oom_kills[0], autopsy.oom_kills()
        return autopsy.describe(returncode, before is not None and now is not None and now > before)

    def _sample(self, pid: int) -> None:
        self._oom_kills.append(autopsy.oom_kills())
        peak_bytes = autopsy.memory_peak_bytes(pid)
        if peak_bytes is not None:
            self._memory_peak_bytes = peak_bytes

    # Output --------------------------------------------------------------------------------------

    def _read(self, stream: int, take: Callable[[bytes], None]) -> None:
        while chunk := nb_read(stream, _CHUNK_BYTES):
            take(chunk)
            self._breathe()

    def _from_stdout(self, chunk: bytes) -> None:
        for event in self._decoder.feed(chunk):
            self._take(event)
        if self._flush_due:
            # What the answers called forth goes out before we look whether there are more.
            self._flush()

    def _take(self, event: protocol.Event) -> None:
        if isinstance(event, protocol.Noise):
            self._stdout_lines.feed_text(event.text + "\n")
        else:
            self._listener.on_event(event)

    def _stdout_line(self, text: str) -> None:
        self._listener.on_output("stdout", text)
        self._breathe()

    def _stderr_line(self, text: str) -> None:
        self._tail.append(text[:TAIL_CHARS])
        self._listener.on_output("stderr", text)
        self._breathe()

    def _breathe(self) -> None:
        """Let others run now and then: nb_read does not, as long as there is something to read."""
        self._progress += 1
        if self._progress % _BREATH == 0:
            gevent.sleep(0)

    def _complain(self, what: str) -> None:
        gevent.spawn(self._complain_unless_gone, what)

    def _complain_unless_gone(self, what: str) -> None:
        if not self._gone.wait(CLOSED_GRACE_S):
            self._listener.on_broken(what)

    # Input ---------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write what there is without waiting. The pipe nearly always has room; the writer takes the rest."""
        self._flush_due = False
        if self._stdin is None or self._writing or not self._backlog:
            return
        lines = self._backlog[0] if len(self._backlog) == 1 else memoryview(b"".join(self._backlog))
        try:
            written = os.write(self._stdin, lines)
        except BlockingIOError:
            written = 0
        except OSError:
            self._input_broken()
            return
        self._backlog.clear()
        if written < len(lines):
            self._backlog.append(lines[written:])
            self._more_input.set()

    def _write(self) -> None:
        try:
            while self._stdin is not None:
                self._writing = True
                while self._backlog:
                    rest = self._backlog[0][nb_write(self._stdin, self._backlog[0]) :]
                    self._backlog.popleft()
                    if rest:
                        self._backlog.appendleft(rest)
                self._writing = False
                if self._last_input:
                    break
                self._more_input.clear()
                self._more_input.wait()
        except OSError:
            self._input_broken()
        finally:
            self._close_stdin()

    def _input_broken(self) -> None:
        """Nobody reads its stdin any more: it is about to exit, or useless."""
        self._last_input = True
        self._backlog.clear()
        self._complain("closed its stdin")

    def _drop_input(self) -> None:
        self._last_input = True
        if self._writer is not None:
            self._writer.kill()
        self._backlog.clear()
        self._close_stdin()

    def _close_stdin(self) -> None:
        stdin, self._stdin = self._stdin, None
        if stdin is not None:
            os.close(stdin)
            # gevent's close takes place when the loop turns next, and an idle loop has no reason to: the
            # process would learn of the end of its input seconds later. A timer is a reason.
            gevent.spawn_later(0, lambda: None)

    # End -----------------------------------------------------------------------------------------

    def _end_in_steps(self, ask_s: float, grace_s: float) -> None:
        if not self._spawned.wait(max(grace_s, SPAWN_S)):
            self._abort_birth()
        process = self._process
        if process is None or self._gone.is_set():
            return
        if ask_s > 0:
            self.close_input()
            if self._gone.wait(ask_s):
                return
        self._drop_input()
        if not self._asked_to_terminate:
            self._asked_to_terminate = True
            self._signal(process.pid, signal.SIGTERM)
        if self._gone.wait(grace_s):
            return
        self._signal(process.pid, signal.SIGKILL)
        if not self._gone.wait(UNKILLABLE_S):
            log.error("child.unkillable", pid=process.pid)
            self._gone.set()

    def _abort_birth(self) -> None:
        """Kill a process that hangs before it became the program (a dead NFS, a lock it was forked with).

        That makes its Popen return, and what follows is an exit like others.
        """
        pid = self._newborn.pid if self._newborn else None
        log.warning("child.stuck_before_exec", pid=pid)
        if pid:
            kin.send(pid, signal.SIGKILL)
        if not self._spawned.wait(UNKILLABLE_S):
            log.error("child.unkillable", pid=pid)
            self._report("hung before it became the program", None, self._clock.monotonic())

    def _signal(self, pid: int, number: signal.Signals) -> None:
        # Looked up while the parents live: afterwards a descendant in a session of its own is an orphan.
        self._relatives |= kin.find(pid, self._token)
        kin.send_group(pid, number)


def _pipe(keep_reader: ExitStack, keep_writer: ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed when their stack unwinds."""
    reader, writer = os.pipe()
    keep_reader.callback(os.close, reader)
    keep_writer.callback(os.close, writer)
    return reader, writer


class _Newborn(Popen[bytes]):
    """Known to whoever may have to end it from before it is born: Popen returns when the program runs."""

    def __init__(self, tell: Callable[["Popen[bytes]"], None], *arguments: Any, **options: Any) -> None:
        tell(self)
        super().__init__(*arguments, **options)


def _die_with(parent_pid: int) -> None:
    """Between fork and exec: ask the kernel to kill this process when the worker dies, however it does."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)
