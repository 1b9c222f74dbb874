"""The end of one process in named steps: ask, terminate, kill."""

import signal
from collections.abc import Callable

import gevent
import structlog

from appliance.event import Event
from appliance.process import kin, stack_dump
from appliance.process.input_pipe import InputPipe
from appliance.process.launch import Launcher

log = structlog.get_logger()

#: Seconds, at least, between fork and exec before a process that is to end counts as stuck there.
SPAWN_S = 1.0
#: Seconds for a killed process to vanish. One that hangs in the kernel (a dead NFS, a GPU driver) may
#: never do; the worker goes on without it.
UNKILLABLE_S = 10.0


class Ending:
    """Ends one process. ``spawned`` is set when it runs or never will, ``gone`` when it has exited.

    ``never_ran`` is called for a process that hangs before it became the program and cannot be killed.
    """

    def __init__(
        self,
        launcher: Launcher,
        relatives: kin.Relatives,
        input_pipe: InputPipe,
        spawned: Event,
        gone: Event,
        never_ran: Callable[[], None],
    ) -> None:
        self._launcher = launcher
        self._relatives = relatives
        self._input = input_pipe
        self._spawned = spawned
        self._gone = gone
        self._never_ran = never_ran
        self._asked_to_terminate = False
        self._steps: gevent.Greenlet[..., object] | None = None

    def begin(self, ask_s: float, grace_s: float, *, dump: bool = False) -> None:
        """Take the steps; returns at once. Called again, the new times replace the old.

        With ``dump`` a Python process writes its stacks to stderr before it is killed.
        """
        if self._steps is not None:
            # Without waiting for it: begin is called from greenlets that must not block.
            self._steps.kill(block=False)
        self._steps = gevent.spawn(self._take_steps, ask_s, grace_s, dump)

    def _take_steps(self, ask_s: float, grace_s: float, dump: bool) -> None:
        # There is nothing to signal before the program runs: SIGTERM would hit a copy of the worker.
        if not self._spawned.wait(max(grace_s, SPAWN_S)):
            self._abort_launch()
        if self._gone.is_set() or (pid := self._launcher.pid) is None:
            return
        if ask_s > 0:
            self._input.close()
            if self._gone.wait(ask_s):
                return
        # Before the signal: the public SDK drops a line that it reads after SIGTERM, without an answer.
        self._input.drop()
        # SIGTERM would end it as hard, and without a word.
        if dump and not stack_dump.catches(pid, signal.SIGTERM):
            self._dump(pid)
        # Once only, however often the steps begin: a second SIGTERM makes the public SDK quit its task.
        if not self._asked_to_terminate:
            self._asked_to_terminate = True
            self._signal(pid, signal.SIGTERM)
        if self._gone.wait(grace_s):
            return
        if dump:
            self._dump(pid)
        self._signal(pid, signal.SIGKILL)
        if not self._gone.wait(UNKILLABLE_S):
            log.error("process.unkillable", pid=pid)
            # As if it had exited: its tasks must be settled, and a stop must come to an end.
            self._gone.set()

    def _dump(self, pid: int) -> None:
        self._relatives.look(pid)
        dumper = stack_dump.dumper(pid)
        if dumper is not None:
            stack_dump.ask(dumper)
            self._gone.wait(stack_dump.WRITE_S)

    def _abort_launch(self) -> None:
        """Kill a process that hangs before it became the program (a dead NFS, a lock it was forked with).

        Its Popen returns then, and what follows is an exit like any other.
        """
        pid = self._launcher.pid
        log.warning("process.stuck_before_exec", pid=pid)
        if pid:
            kin.send(pid, signal.SIGKILL)
        if not self._spawned.wait(UNKILLABLE_S):
            log.error("process.unkillable", pid=pid)
            self._never_ran()

    def _signal(self, pid: int, number: signal.Signals) -> None:
        # Looked up while the parents live: afterwards a descendant in another session is an orphan.
        self._relatives.look(pid)
        kin.send_group(pid, number)
