"""One OS process: its birth, its three pipes, its end. It has no policy: the caller decides what to do.

What it guarantees:

- Nothing here blocks the event loop: neither a process that stops reading, nor one that never stops printing.
- The process leads its own session and dies with the worker, on SIGKILL as well (Linux).
- Its exit is reported once, after the last byte of its output, and after its descendants are gone. A
  descendant that holds a pipe open delays that by :data:`~appliance.process.output_pipes.DRAIN_S`, one that
  also escapes being found by :data:`~appliance.process.output_pipes.LEFTOVER_S` more, not for ever.
- It is waited for by its own pid; no descriptor and no zombie stays behind.
"""

import os
from collections.abc import Callable

import gevent

from appliance.clock import Clock
from appliance.event import Event
from appliance.process.autopsy import Vitals
from appliance.process.ending import UNKILLABLE_S, Ending
from appliance.process.input_pipe import InputPipe
from appliance.process.kin import Relatives
from appliance.process.launch import Launch, Launched, Launcher
from appliance.process.listener import Listener, ProcessExit
from appliance.process.output_pipes import OutputPipes
from appliance.process.request_line import Line

#: Seconds a process may live with a closed stdin or stdout before it counts as broken: one that is
#: about to exit closes them too.
CLOSED_GRACE_S = 1.0
#: Seconds until the first look at memory, and between the others.
FIRST_SAMPLE_S = 0.2
SAMPLE_S = 2.0


class Child:
    """See the module. :meth:`start` first; everything else may be called at any time after."""

    def __init__(
        self, launch: Launch, listener: Listener, clock: Clock, redact: Callable[[str], str]
    ) -> None:
        self._listener = listener
        self._clock = clock
        self._relatives = Relatives()
        self._launcher = Launcher(launch, self._relatives.mark)
        self._started_s = 0.0
        self._spawned = Event()  # started, or failed to
        self._gone = Event()  # exited, or given up on
        self._ended = Event()  # reported
        self._input = InputPipe(lambda: self._complain("closed its stdin"))
        # What the answers called forth goes out before we look whether there are more.
        self._output = OutputPipes(
            listener, redact, after_chunk=self._input.flush_if_due, max_line_bytes=launch.max_line_bytes
        )
        self._vitals = Vitals()
        self._ending = Ending(
            self._launcher, self._relatives, self._input, self._spawned, self._gone, self._never_ran
        )

    @property
    def pid(self) -> int | None:
        """Its process id, its group's and session's too; None before it started and after it ended."""
        return self._launcher.pid if self._spawned.is_set() and not self._gone.is_set() else None

    def start(self) -> None:
        """Begin; returns at once. A program that cannot be started is reported as an exit like any other."""
        gevent.spawn(self._live)

    def send(self, line: Line) -> None:
        """Write a line to its stdin. What it does not read waits, in order, until its end."""
        # After the exit a descendant may still hold the pipe open; it must not get the task.
        if not self._gone.is_set():
            self._input.send(line)

    def close_input(self) -> None:
        """Close its stdin once everything sent has been written."""
        self._input.close()

    def end(self, *, ask_s: float, grace_s: float, dump: bool = False) -> None:
        """End it in steps; returns at once. Called again, the new times replace the old.

        Ask: close its stdin behind what was sent and wait ``ask_s`` (0 skips this step, and what was
        not yet written is dropped). Terminate: SIGTERM to its group, once, and wait ``grace_s``. Kill.
        The order is the public SDK's: an idle SDK ends only by the end of its stdin, it drops a
        line that it reads after SIGTERM, and a second SIGTERM makes it quit its task.
        With ``dump`` a Python process writes its stacks to stderr before it is killed.
        """
        self._ending.begin(ask_s, grace_s, dump=dump)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until its exit was reported; False when that takes longer."""
        return self._ended.wait(timeout_s)

    def _live(self) -> None:
        self._started_s = self._clock.monotonic()
        self._vitals.begin()
        try:
            launched = self._launcher.run()
        except (OSError, ValueError) as exc:
            self._report(f"could not be started: {exc}", None, self._clock.monotonic())
            return
        if self._ended.is_set():
            # Given up on before it ran: its exit was reported, so nothing it says may be passed on.
            for descriptor in (launched.stdin, launched.stdout, launched.stderr):
                os.close(descriptor)
            return
        self._output.open(launched, lambda: self._complain("closed its stdout"))
        self._input.open(launched.stdin)
        self._watch(launched)
        # The time of the exit, not of its report: reading what is left takes up to six seconds more.
        at_s = self._clock.monotonic()
        returncode = launched.process.returncode
        if returncode is None:
            text = f"did not vanish within {UNKILLABLE_S:g} s of SIGKILL"
        else:
            text = self._vitals.exit_text(returncode)
        self._clear_away(launched.process.pid)
        self._report(text, returncode, at_s)

    def _watch(self, launched: Launched) -> None:
        """Return when the process is gone; until then look at its memory now and then."""
        waiter = gevent.spawn(launched.process.wait)
        waiter.link(lambda _: self._gone.set())
        self._spawned.set()
        pause_s = FIRST_SAMPLE_S
        while not self._gone.wait(pause_s):
            self._vitals.sample(launched.process.pid)
            pause_s = SAMPLE_S

    def _clear_away(self, pid: int) -> None:
        """Read what is left, end the descendants that are left, close our pipes."""
        self._output.wait()
        # Not before that: a descendant may still be writing the last lines of the task.
        self._relatives.kill(pid)
        # Now the pipes end, unless a descendant that could not be found holds them.
        self._output.drain(self._clock)
        self._input.drop()
        self._output.end()

    def _report(self, text: str, returncode: int | None, at_s: float) -> None:
        self._gone.set()
        self._spawned.set()
        ended = ProcessExit(
            text=text,
            returncode=returncode,
            at_monotonic_s=at_s,
            uptime_s=at_s - self._started_s,
            stderr_tail=self._output.tail,
            memory_peak_bytes=self._vitals.memory_peak_bytes,
        )
        try:
            self._listener.on_exit(ended)
        finally:
            # Last: a stop that waits must find every task of this process delivered.
            self._ended.set()

    def _never_ran(self) -> None:
        self._report("hung before it became the program", None, self._clock.monotonic())

    def _complain(self, what: str) -> None:
        gevent.spawn(self._complain_unless_gone, what)

    def _complain_unless_gone(self, what: str) -> None:
        if not self._gone.wait(CLOSED_GRACE_S):
            self._listener.on_broken(f"{what} and lived on")
