"""Running a program and waiting for it: the only place of the package that does so for deploying.

A program is ended with everything it started, in other sessions too. It gets nothing on stdin, and
exactly the environment it is given, with a mark by which what it started is known. Its output is handed on
line by line while it runs. It is ended when it takes too long, prints nothing for too long, or when the
greenlet that waits is stopped.
"""

import os
import selectors
import shlex
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path

import structlog

from appliance.clock import Clock
from appliance.errors import CommandFailed
from appliance.isolation.confinement import Confine, Enter, unconfined
from appliance.process import kin
from appliance.process.lines import LineSplitter
from appliance.process.mark import Mark
from appliance.values import value_class

log = structlog.get_logger()

#: Last lines of output kept for an error.
TAIL_LINES = 20
#: Characters of one line that are kept.
LINE_LENGTH = 4096
#: Bytes of stdout kept for callers that read it.
STDOUT_BYTES = 16 * 1024 * 1024
#: Seconds between being asked to end and being forced to.
GRACE_S = 3.0
#: Seconds that descendants may hold the output open after the program itself ended.
LINGER_S = 2.0
#: Status of a program that could not be started, as shells have it.
CANNOT_START = 127
#: Seconds between looks at the limits while there is no output.
_TICK_S = 0.25

OnLine = Callable[[str], None]


@value_class
class Command:
    """A program with its arguments, folder and environment; ``str()`` is quoted as for a shell.

    ``descriptors`` are file descriptors that this program inherits beside those of its runner.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(repr=False)
    descriptors: tuple[int, ...] = ()

    def __str__(self) -> str:
        return shlex.join(self.argv)


@value_class
class Limits:
    """Seconds until a program is ended: altogether, and since it last said something."""

    total_s: float
    silent_s: float


@value_class
class Output:
    """What a program that ended well printed: its stdout, unredacted, and the last lines of both streams."""

    stdout: str = field(repr=False)
    tail: tuple[str, ...]


class Runner:
    """Runs commands one after another.

    ``redact`` cleans every line before it goes anywhere. ``on_line`` is handed every line, ``on_tick``
    is called a few times a second while a program runs, whether it says something or not.
    ``keep_open`` are file descriptors that programs inherit; a lock among them stays taken while a
    program outlives a killed worker. ``confine`` is what programs are held to.
    """

    def __init__(
        self,
        clock: Clock,
        redact: Callable[[str], str],
        on_line: OnLine = lambda _line: None,
        keep_open: tuple[int, ...] = (),
        on_tick: Callable[[], None] = lambda: None,
        confine: Confine = unconfined,
    ) -> None:
        self._clock = clock
        self._redact = redact
        self._on_line = on_line
        self._keep_open = keep_open
        self._on_tick = on_tick
        self._confine = confine

    def within(self, confine: Confine) -> "Runner":
        """The same with another confinement."""
        return Runner(self._clock, self._redact, self._on_line, self._keep_open, self._on_tick, confine)

    def unheard(self) -> "Runner":
        """The same for programs that answer a question: their lines are an answer, and no progress."""
        return Runner(
            self._clock, self._redact, lambda _line: None, self._keep_open, self._on_tick, self._confine
        )

    def run(self, command: Command, limits: Limits, on_line: OnLine | None = None) -> Output:
        """Run ``command`` to its end; ``on_line`` is handed its lines, too.

        Raises :class:`~appliance.errors.CommandFailed` unless it exits with status 0; the status
        is None when it was ended for a limit, ``CANNOT_START`` when it never ran.
        """
        log.debug("deploy.command", command=self._redact(str(command)))
        lines = _Lines(self._redact, (self._on_line, on_line) if on_line else (self._on_line,))
        shown = self._redact(str(command))
        with _Process(command, shown, self._keep_open, lines, self._confine) as process:
            started_s = heard_s = self._clock.monotonic()
            exited_s: float | None = None
            while process.attached:
                now_s = self._clock.monotonic()
                late = _lateness(limits, now_s - started_s, now_s - heard_s)
                if late:
                    raise self._failed(command, None, lines, late)
                if exited_s is None and process.popen.poll() is not None:
                    exited_s = now_s
                if exited_s is not None and now_s - exited_s > LINGER_S:
                    break
                if process.read(_TICK_S):
                    heard_s = self._clock.monotonic()
                self._on_tick()
            lines.flush()
            left_s = max(0.0, limits.total_s - (self._clock.monotonic() - started_s))
            try:
                status = process.popen.wait(left_s)
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
        self._listeners = listeners
        self._streams = {
            stream: LineSplitter(self._add, redact, LINE_LENGTH) for stream in ("stdout", "stderr")
        }

    def feed(self, stream: str, data: bytes) -> None:
        if stream == "stdout":
            self.stdout += data[: STDOUT_BYTES - len(self.stdout)]
        self._streams[stream].feed(data.replace(b"\r", b"\n"))

    def flush(self) -> None:
        for lines in self._streams.values():
            lines.end()

    def _add(self, line: str) -> None:
        self.tail.append(line.rstrip())
        for listener in self._listeners:
            listener(line.rstrip())


class _Process:
    """One process and the pipes to it, gone at the end of the ``with`` whatever ends it."""

    def __init__(
        self, command: Command, shown: str, keep_open: tuple[int, ...], lines: _Lines, confine: Confine
    ) -> None:
        self._lines = lines
        self._confine = confine
        self._command = command
        self._shown = shown
        self._keep_open = keep_open
        self._selector = selectors.DefaultSelector()
        self._ours: list[int] = []
        self._mark = Mark()

    def __enter__(self) -> "_Process":
        theirs: list[int] = []
        try:
            for stream in ("stdout", "stderr"):
                ours, their = os.pipe()
                self._ours.append(ours)
                theirs.append(their)
                self._selector.register(ours, selectors.EVENT_READ, stream)
            with self._confine() as enter:
                self.popen = self._start(theirs, enter)
        except (OSError, subprocess.SubprocessError) as exc:
            self._close()
            name = getattr(exc, "filename", None) or self._command.argv[0]
            reason = f"{name}: {getattr(exc, 'strerror', None) or exc}"
            raise CommandFailed(self._shown, CANNOT_START, (reason,)) from exc
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
            # A daemon that a build left would go on writing to the environment, and might hold a lock.
            kin.kill(self.popen.pid, self._mark)

    def _start(self, theirs: list[int], enter: Enter) -> "subprocess.Popen[bytes]":
        def begin() -> None:
            self._mark.put_on()
            enter()

        return subprocess.Popen(
            self._command.argv,
            cwd=self._command.cwd,
            env={**self._command.env, **self._mark.environment},
            stdin=subprocess.DEVNULL,
            stdout=theirs[0],
            stderr=theirs[1],
            start_new_session=True,
            pass_fds=(*self._keep_open, *self._command.descriptors),
            preexec_fn=begin,  # noqa: PLW1509  three system calls, and nothing that could wait for another thread
        )

    @property
    def attached(self) -> bool:
        """Whether a program still holds a pipe to us open."""
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
        if self.popen.poll() is not None and not self.attached:
            return
        try:
            if self.popen.poll() is None:
                self._signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self.popen.wait(GRACE_S)
        finally:
            self._signal(signal.SIGKILL)
        try:
            self.popen.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            # Waits for a disk or a network file system, where no signal reaches it.
            log.error("deploy.command_unkillable", pid=self.popen.pid, command=self._shown)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

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
