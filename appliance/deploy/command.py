"""Running a program and waiting for it: the only place of the package that does so for deploying.

A program gets a session of its own, so that it can be ended with everything it started; nothing
on stdin; exactly the environment it is given. Its output is handed on line by line while it runs.
It is ended when it takes too long, says nothing for too long, or when whoever waits is stopped.
"""

import os
import selectors
import shlex
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from appliance.clock import Clock
from appliance.errors import CommandFailed

log = structlog.get_logger()

#: Last lines of output kept for an error.
TAIL_LINES = 20
#: Characters of one line that are kept.
LINE_LENGTH = 4096
#: Bytes of stdout kept for callers that read it.
STDOUT_BYTES = 1024 * 1024
#: Seconds between being asked to end and being forced to.
GRACE_S = 3.0
#: Seconds that descendants may hold the output open after the program itself ended.
LINGER_S = 2.0
#: Status of a program that could not be started, as shells have it.
CANNOT_START = 127
#: Seconds between looks at the limits while there is no output.
_TICK_S = 0.25

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Command:
    """A program with its arguments, folder and environment; ``str()`` is quoted as for a shell."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return shlex.join(self.argv)


@dataclass(frozen=True)
class Limits:
    """Seconds until a program is ended: altogether, and since it last said something."""

    total_s: float
    silent_s: float


@dataclass(frozen=True)
class Output:
    """What a program that ended well printed: its stdout, unredacted, and the last lines of both streams."""

    stdout: str = field(repr=False)
    tail: tuple[str, ...]


class Runner:
    """Runs commands one after another.

    ``redact`` cleans every line before anybody sees it. ``on_line`` is handed every line, ``on_tick``
    is called a few times a second while a program runs, whether it says something or not.
    ``keep_open`` are file descriptors that programs inherit; a lock among them stays taken while a
    program outlives a killed worker.
    """

    def __init__(
        self,
        clock: Clock,
        redact: Callable[[str], str],
        on_line: OnLine = lambda _line: None,
        keep_open: tuple[int, ...] = (),
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._redact = redact
        self._on_line = on_line
        self._keep_open = keep_open
        self._on_tick = on_tick

    def run(self, command: Command, limits: Limits, on_line: OnLine | None = None) -> Output:
        """Run ``command`` to its end; ``on_line`` is handed its lines, too.

        Raises :class:`~appliance.errors.CommandFailed` unless it exits with status 0; the status
        is None when it was ended for a limit, ``CANNOT_START`` when it never ran.
        """
        log.debug("deploy.command", command=self._redact(str(command)))
        lines = _Lines(self._redact, (self._on_line, on_line) if on_line else (self._on_line,))
        with _Child(command, self._keep_open, lines) as child:
            started_s = heard_s = self._clock.monotonic()
            exited_s: float | None = None
            while child.attached:
                now_s = self._clock.monotonic()
                late = _lateness(limits, now_s - started_s, now_s - heard_s)
                if late:
                    raise self._failed(command, None, lines, late)
                if exited_s is None and child.process.poll() is not None:
                    exited_s = now_s
                if exited_s is not None and now_s - exited_s > LINGER_S:
                    break
                if child.read(_TICK_S):
                    heard_s = self._clock.monotonic()
                self._on_tick()
            lines.flush()
            left_s = max(0.0, limits.total_s - (self._clock.monotonic() - started_s))
            try:
                status = child.process.wait(left_s)
            except subprocess.TimeoutExpired as exc:
                late = f"ended after {limits.total_s:g} s"
                raise self._failed(command, None, lines, late) from exc
        if status:
            raise self._failed(command, status, lines)
        return Output(lines.stdout.decode(errors="replace"), tuple(lines.tail))

    def _failed(self, command: Command, status: int | None, lines: "_Lines", *reason: str) -> CommandFailed:
        lines.flush()
        return CommandFailed(self._redact(str(command)), status, (*lines.tail, *reason))


class _Lines:
    """What was said so far. Carriage returns end a line as well: progress is drawn with them."""

    def __init__(self, redact: Callable[[str], str], listeners: tuple[OnLine, ...]) -> None:
        self.stdout = bytearray()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._redact = redact
        self._listeners = listeners
        self._partial: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def feed(self, stream: str, data: bytes) -> None:
        if stream == "stdout":
            self.stdout += data[: STDOUT_BYTES - len(self.stdout)]
        *whole, rest = (self._partial[stream] + data).replace(b"\r", b"\n").split(b"\n")
        # A line without end is cut into pieces, or it would be kept whole.
        if len(rest) > LINE_LENGTH:
            whole, rest = [*whole, rest], b""
        self._partial[stream] = rest
        for line in whole:
            self._add(line)

    def flush(self) -> None:
        for stream, rest in self._partial.items():
            self._partial[stream] = b""
            self._add(rest)

    def _add(self, line: bytes) -> None:
        text = self._redact(line.decode(errors="replace")).rstrip()[:LINE_LENGTH]
        if text:
            self.tail.append(text)
            for listener in self._listeners:
                listener(text)


class _Child:
    """One process and the pipes to it, gone at the end of the ``with`` whatever ends it."""

    def __init__(self, command: Command, keep_open: tuple[int, ...], lines: _Lines) -> None:
        self._lines = lines
        self._command = command
        self._keep_open = keep_open
        self._selector = selectors.DefaultSelector()
        self._ours: list[int] = []

    def __enter__(self) -> "_Child":
        theirs: list[int] = []
        try:
            for stream in ("stdout", "stderr"):
                ours, their = os.pipe()
                self._ours.append(ours)
                theirs.append(their)
                self._selector.register(ours, selectors.EVENT_READ, stream)
            self.process = subprocess.Popen(
                self._command.argv,
                cwd=self._command.cwd,
                env=dict(self._command.env),
                stdin=subprocess.DEVNULL,
                stdout=theirs[0],
                stderr=theirs[1],
                start_new_session=True,
                pass_fds=self._keep_open,
            )
        except OSError as exc:
            self._close()
            reason = f"{exc.filename or self._command.argv[0]}: {exc.strerror}"
            raise CommandFailed(str(self._command), CANNOT_START, (reason,)) from exc
        except BaseException:
            self._close()
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            self._end()
        finally:
            self._close()

    @property
    def attached(self) -> bool:
        """Whether anybody can still write to us."""
        return bool(self._selector.get_map())

    def read(self, timeout_s: float) -> bool:
        """Take in what is there, waiting for it at most ``timeout_s``; whether there was anything."""
        heard = False
        for key, _ in self._selector.select(timeout_s):
            data = os.read(key.fd, 65536)
            if data:
                heard = True
                self._lines.feed(key.data, data)
            else:
                self._selector.unregister(key.fd)
        return heard

    def _end(self) -> None:
        """Ask, wait, force; the whole session, since what a program started must not outlive it."""
        if self.process.poll() is not None and not self.attached:
            return
        try:
            if self.process.poll() is None:
                self._signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(GRACE_S)
        finally:
            self._signal(signal.SIGKILL)
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            # Waits for a disk or a network file system, where no signal reaches it.
            log.error("deploy.command_unkillable", pid=self.process.pid, command=str(self._command))

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _close(self) -> None:
        self._selector.close()
        for fd in self._ours:
            os.close(fd)
        self._ours.clear()


def _lateness(limits: Limits, total_s: float, silent_s: float) -> str:
    if total_s > limits.total_s:
        return f"ended after {limits.total_s:g} s"
    if silent_s > limits.silent_s:
        return f"ended after {limits.silent_s:g} s without output"
    return ""
