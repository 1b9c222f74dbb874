"""One supervised task process with the tasks it holds, as both kinds of runner use it.

It joins the child (what happens) with the life-cycle table and the ledger of tasks (what it means),
and keeps the promise that every task handed in is delivered exactly once. What happens *after* a process,
a restart above all, is the runner's to decide.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from appliance.clock import Clock
from appliance.errors import ProcessNotReady
from appliance.process import lifecycle, protocol
from appliance.process.child import Child, Launch, Listener, ProcessExit
from appliance.process.inflight import Entry, InFlight
from appliance.process.lifecycle import Stage, Turn
from appliance.process.work import Cancelled, Deliver, Failed, Outcome, Request, Returned

log = structlog.get_logger()

#: Seconds, at most, that a process which is asked to stop gets to end by itself before SIGTERM; never
#: more than half of its grace. An idle process of the public SDK needs milliseconds.
ASK_S = 1.0
#: Longest error line quoted in a reason, in characters.
_QUOTED_CHARS = 500


@dataclass(frozen=True)
class ProcessSpec:
    """What to run: absolute ``cwd``, the whole ``env``, and the time it has to get ready and to leave.

    ``commit`` is the code's, for crash reports.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    startup_timeout_s: float
    stop_grace_s: float = 5.0
    commit: str = ""


@dataclass(frozen=True)
class CrashReport:
    """One unexpected end: a start that failed, or a process that ended unasked. All text is redacted."""

    when_wall_s: float
    exit: str
    uptime_s: float
    stderr_tail: tuple[str, ...]
    task_ids: tuple[str, ...]
    was_ready: bool
    memory_peak_bytes: int | None
    commit: str = ""


@dataclass(frozen=True)
class Hooks:
    """Whom a runner tells. None of these may block or raise.

    ``on_change()``: readiness or recovery changed. ``on_output(source, text)``: a line of stdout or stderr,
    redacted. ``on_crash(report)``: an unexpected end. ``redact(text)`` masks secrets.
    """

    on_change: Callable[[], None]
    on_output: Callable[[str, str], None]
    on_crash: Callable[[CrashReport], None]
    redact: Callable[[str], str]


class ChildLike(Protocol):
    """What is asked of a child; :class:`~appliance.process.child.Child` is the real one."""

    @property
    def pid(self) -> int | None:
        """See :class:`~appliance.process.child.Child`."""

    def start(self) -> None:
        """See :class:`~appliance.process.child.Child`."""

    def send(self, line: bytes) -> None:
        """See :class:`~appliance.process.child.Child`."""

    def close_input(self) -> None:
        """See :class:`~appliance.process.child.Child`."""

    def end(self, *, ask_s: float, grace_s: float) -> None:
        """See :class:`~appliance.process.child.Child`."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """See :class:`~appliance.process.child.Child`."""


MakeChild = Callable[[Launch, Listener, Clock, Callable[[str], str]], ChildLike]


class Owner(Protocol):
    """The runner a process belongs to; each call comes with the process's stage already advanced."""

    def process_ready(self, process: "Supervised", /) -> None:
        """It can take tasks."""

    def process_leaving(self, process: "Supervised", /) -> None:
        """It is being ended because of a task's limit or cancellation."""

    def process_answered(self, process: "Supervised", /) -> None:
        """It finished one task, which was delivered."""

    def process_ended(self, process: "Supervised", /) -> None:
        """It is gone and so are its tasks."""


class Supervised:
    """See the module."""

    def __init__(
        self,
        parent: str,
        spec: ProcessSpec,
        clock: Clock,
        hooks: Hooks,
        owner: Owner,
        make_child: MakeChild = Child,
    ) -> None:
        self._log = log.bind(queue=parent)
        self._spec = spec
        self._clock = clock
        self._hooks = hooks
        self._owner = owner
        self._tasks = InFlight()
        self._why: str | None = None
        self._ignored = 0
        self._child = make_child(Launch(spec.argv, spec.cwd, spec.env), self, clock, hooks.redact)
        self.stage = Stage.STARTING
        self.started_s = 0.0
        #: How it ended; None while it has not.
        self.ended: ProcessExit | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self._child.pid

    @property
    def cwd(self) -> Path:
        """The folder it runs in."""
        return self._spec.cwd

    @property
    def idle(self) -> bool:
        """Whether it holds no task."""
        return not len(self._tasks)

    @property
    def ignored_answers(self) -> int:
        """Answers that belonged to no task it held."""
        return self._ignored

    def start(self) -> None:
        """Start the process; returns at once."""
        self.started_s = self._clock.monotonic()
        self._log.info("child.starting", command=self._spec.argv[0])
        self._child.start()

    def submit(self, request: Request, deliver: Deliver) -> None:
        """Hand a task in; it is sent when the process is ready. ProcessNotReady where it is not wanted."""
        if self.stage not in (Stage.STARTING, Stage.READY):
            raise ProcessNotReady(f"the task process is {self.stage.name.lower()}")
        if request.task_id in self._tasks:
            raise ProcessNotReady(f"a task {request.task_id} is in flight already")
        self._tasks.add(request, deliver, self._clock.monotonic())
        if self.stage is Stage.READY:
            self._child.send(protocol.encode_request(request))

    def close_input(self) -> None:
        """No task will follow."""
        self._child.close_input()

    def cancel(self, task_id: str, reason: str) -> bool:
        """End the process for the sake of one of its tasks; False when it does not hold it."""
        if not self._tasks.doom(task_id, Cancelled(reason)):
            return False
        self._replace(f"cancelled: {reason}")
        return True

    def dismiss(self, why: str, *, ask_s: float, grace_s: float) -> None:
        """End the process by our own wish; see :meth:`~appliance.process.child.Child.end` for the steps."""
        if self.ended is not None:
            return
        self.stage = lifecycle.advance(self.stage, Turn.DISMISSED)
        self._why = self._why or why
        self._log.info("child.stopping", pid=self.pid, reason=why)
        self._child.end(ask_s=ask_s, grace_s=grace_s)

    def let_go(self, grace_s: float) -> None:
        """The process has done all it was started for and should exit by itself.

        One that is being ended already keeps the times it was given: a stop must not take longer because
        an answer came.
        """
        if self.stage is not Stage.READY:
            return
        self.stage = lifecycle.advance(self.stage, Turn.DISMISSED)
        self._why = self._why or "it had answered"
        self._child.end(ask_s=grace_s, grace_s=grace_s)

    def stop(self, grace_s: float) -> None:
        """End the process with the worker; answers that still come count. Returns at once."""
        self.dismiss("the worker stops", ask_s=min(ASK_S, grace_s / 2), grace_s=grace_s)

    def wait(self) -> None:
        """Wait until it is gone."""
        self._child.wait()

    # Time ----------------------------------------------------------------------------------------

    def due_s(self) -> float | None:
        """When :meth:`tick` has something to do next."""
        if self.stage is Stage.READY:
            return self._tasks.due_s()
        if self.stage is not Stage.STARTING:
            return None
        until_ready_s = self.started_s + self._spec.startup_timeout_s
        task_due_s = self._tasks.due_s()
        return until_ready_s if task_due_s is None else min(until_ready_s, task_due_s)

    def tick(self, now_s: float) -> None:
        """Enforce the time to get ready and the tasks' limits."""
        if self.stage is Stage.STARTING and now_s >= self.started_s + self._spec.startup_timeout_s:
            self._break(f"was not ready within {self._spec.startup_timeout_s:g} s")
        if self.stage not in (Stage.STARTING, Stage.READY):
            return
        for task_id, verdict in self._tasks.overdue(now_s):
            self._log.warning("child.expired", pid=self.pid, task_id=task_id, reason=verdict.reason)
            self._tasks.doom(task_id, verdict)
            self._replace(f"a task's limit passed ({verdict.reason})")

    # What the child tells ------------------------------------------------------------------------

    def on_event(self, event: protocol.Ready | protocol.StartError | protocol.Answer) -> None:
        """See :class:`~appliance.process.child.Listener`."""
        match event:
            case protocol.Ready() if self.stage is Stage.STARTING:
                self._become_ready()
            case protocol.StartError(text) if self.stage is Stage.STARTING:
                self._break(f"reported that it cannot start: {_quote(self._hooks.redact(text))}")
            case protocol.Answer(task_id, outcome):
                self._answered(task_id, outcome)
            case _:
                self._log.debug("child.noise", pid=self.pid, greeting=type(event).__name__)

    def on_output(self, source: str, text: str) -> None:
        """See :class:`~appliance.process.child.Listener`."""
        if source == "stdout":
            self._log.debug("child.noise", pid=self.pid, length=len(text))
        self._hooks.on_output(source, text)

    def on_broken(self, what: str) -> None:
        """See :class:`~appliance.process.child.Listener`."""
        self._break(f"{what} and lived on")

    def on_exit(self, ended: ProcessExit) -> None:
        """See :class:`~appliance.process.child.Listener`."""
        self.stage = lifecycle.advance(self.stage, Turn.EXITED)
        ended = replace(ended, text=self._hooks.redact(ended.text))
        if self.stage is not Stage.LEFT and self._why:
            ended = replace(ended, text=f"{self._why}; {ended.text}")
        self.ended = ended
        expected = self.stage is Stage.LEFT
        tell = self._log.info if expected else self._log.warning
        tell("child.exited", exit=ended.text, uptime_s=round(ended.uptime_s, 3), expected=expected)
        report = CrashReport(
            when_wall_s=self._clock.wall(),
            exit=ended.text,
            uptime_s=ended.uptime_s,
            stderr_tail=ended.stderr_tail,
            task_ids=self._tasks.task_ids,
            was_ready=self.stage is Stage.CRASHED,
            memory_peak_bytes=ended.memory_peak_bytes,
            commit=self._spec.commit,
        )
        for entry in self._tasks.clear():
            entry.deliver(entry.request, entry.verdict or self._unfinished(ended))
        self._owner.process_ended(self)
        if not expected:
            self._hooks.on_crash(report)

    def _unfinished(self, ended: ProcessExit) -> Outcome:
        if self.stage is Stage.LEFT:
            return Returned(f"the task process was ended: {self._why}")
        what = "ended while the task ran" if self.stage is Stage.CRASHED else "did not start"
        reason = f"the task process {what}: {ended.text}"
        if ended.stderr_tail:
            reason += f"; last error line: {_quote(ended.stderr_tail[-1])}"
        return lifecycle.unfinished(self.stage, reason)

    def _become_ready(self) -> None:
        now_s = self._clock.monotonic()
        self.stage = lifecycle.advance(self.stage, Turn.READY)
        self._log.info("child.ready", pid=self.pid, seconds=round(now_s - self.started_s, 3))
        self._tasks.begin(now_s)
        for request in self._tasks.requests():
            self._child.send(protocol.encode_request(request))
        self._owner.process_ready(self)

    def _answered(self, task_id: str, outcome: Outcome) -> None:
        entry = self._tasks.answered(task_id, self._clock.monotonic())
        if entry is None:
            self._ignored += 1
            # A process that errs so may do it a million times.
            tell = self._log.warning if self._ignored == 1 else self._log.debug
            tell("child.answer_ignored", pid=self.pid, task_id=task_id[:100], count=self._ignored)
            return
        _deliver(entry, outcome, self._hooks.redact)
        self._owner.process_answered(self)

    def _break(self, why: str) -> None:
        before = self.stage
        self.stage = lifecycle.advance(before, Turn.BROKEN)
        if self.stage is before:
            return  # on its way out already
        self._why = why
        self._log.warning("child.broken", pid=self.pid, reason=why)
        self._child.end(ask_s=0, grace_s=self._spec.stop_grace_s)

    def _replace(self, why: str) -> None:
        if self.stage not in (Stage.STARTING, Stage.READY):
            return
        self.dismiss(why, ask_s=0, grace_s=self._spec.stop_grace_s)
        self._owner.process_leaving(self)


def _deliver(entry: Entry, outcome: Outcome, redact: Callable[[str], str]) -> None:
    if isinstance(outcome, Failed):
        outcome = Failed(redact(outcome.error), outcome.retry)
    entry.deliver(entry.request, outcome)


def _quote(line: str) -> str:
    return line if len(line) <= _QUOTED_CHARS else line[:_QUOTED_CHARS] + "…"
