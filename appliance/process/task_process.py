"""One supervised task process with the tasks it holds, as both runners use it.

It joins the child (what happens) with the life-cycle table and the ledger of tasks (what it means),
and keeps the promise that every task handed in is delivered exactly once. What happens *after* a process,
a restart above all, is the runner's to decide.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog

from appliance.clock import TURN_S, Clock
from appliance.errors import ProcessNotReady
from appliance.process import lifecycle, stack_dump
from appliance.process.answers import Answer, Ready, StartError
from appliance.process.child import Child
from appliance.process.experience import Experience
from appliance.process.inflight import InFlight
from appliance.process.launch import Launch
from appliance.process.lifecycle import Event, Stage
from appliance.process.listener import Listener, ProcessExit
from appliance.process.outcome import Cancelled, Failed, Outcome, Succeeded, TimedOut
from appliance.process.progress import Report
from appliance.process.request_line import Line, encode_request
from appliance.process.runner import Deliver, Request
from appliance.process.spec import CrashReport, Hooks, ProcessSpec

log = structlog.get_logger()

#: Seconds, at most, that a process which is asked to stop gets to end by itself before SIGTERM; never
#: more than half of its grace. An idle process of the public SDK needs milliseconds.
ASK_S = 1.0
#: Characters from which on an id stands in a text for a reason.
_TELLING_ID_CHARS = 8
_NO_ANSWER = (
    "a line on stdout names this task, which still runs, but is no answer; an answer is one JSON object on "
    'one line (json.dumps without indent) with "task_id" and "result" or "error", nothing else on it; '
    "progress belongs on stderr"
)
_ONE_AT_A_TIME = (
    "RUNQY_CONCURRENCY above 1 has no effect: the code works on one task at a time, as the SDK's run() does; "
    "start more workers, or have the process read on while it works, and answer tasks in any order"
)
#: Longest error line quoted in a reason, in characters.
_QUOTED_CHARS = 500
#: Most characters of a task's error that are looked at; a process may answer with many megabytes.
_ERROR_CHARS = 65_536


class ChildLike(Protocol):
    """What is asked of a child; :class:`~appliance.process.child.Child` is the real one."""

    @property
    def pid(self) -> int | None:
        """See :class:`~appliance.process.child.Child`."""

    def start(self) -> None:
        """See :class:`~appliance.process.child.Child`."""

    def send(self, line: Line) -> None:
        """See :class:`~appliance.process.child.Child`."""

    def close_input(self) -> None:
        """See :class:`~appliance.process.child.Child`."""

    def end(self, *, ask_s: float, grace_s: float, dump: bool = False) -> None:
        """See :class:`~appliance.process.child.Child`."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """See :class:`~appliance.process.child.Child`."""


MakeChild = Callable[[Launch, Listener, Clock, Callable[[str], str]], ChildLike]


class Owner(Protocol):
    """The runner a process belongs to; each call comes with the process's stage already advanced."""

    def process_ready(self, process: "TaskProcess", /) -> None:
        """It can take tasks; those it was given before were sent."""

    def process_leaving(self, process: "TaskProcess", /) -> None:
        """It is being ended because of a task's limit or cancellation."""

    def process_answered(self, process: "TaskProcess", /) -> None:
        """It finished one task, which was delivered."""

    def process_ended(self, process: "TaskProcess", /) -> None:
        """It is gone and so are its tasks."""


class _Why(NamedTuple):
    """Why the worker ends the process, and what that itself ``said`` of it."""

    reason: str
    said: str = ""


class TaskProcess:
    """See the module."""

    def __init__(
        self,
        parent: str,
        spec: ProcessSpec,
        clock: Clock,
        hooks: Hooks,
        owner: Owner,
        experience: Experience,
        make_child: MakeChild = Child,
    ) -> None:
        self._log = log.bind(parent=parent)
        self.spec = spec
        self._clock = clock
        self._hooks = hooks
        self._owner = owner
        self._experience = experience
        self._tasks = InFlight()
        self._why: _Why | None = None
        launch = Launch(spec.argv, spec.cwd, spec.env, spec.confine, spec.max_answer_bytes)
        self._child = make_child(launch, self, clock, hooks.redact)
        self.stage = Stage.STARTING
        self.started_s = 0.0
        #: How it ended; None while it has not.
        self.ended: ProcessExit | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self._child.pid

    @property
    def idle(self) -> bool:
        """Whether it holds no task."""
        return not len(self._tasks)

    def start(self) -> None:
        """Start the process; returns at once."""
        self.started_s = self._clock.monotonic()
        _routine(self._log, self.spec)("process.starting", command=self.spec.argv[0])
        self._child.start()

    def submit(self, request: Request, deliver: Deliver) -> None:
        """Take a task in; it is sent when the process is ready. ProcessNotReady where it is refused."""
        if self.stage not in (Stage.STARTING, Stage.READY):
            raise ProcessNotReady(f"the task process is {self.stage.name.lower()}")
        if request.task_id in self._tasks:
            # An answer carries nothing but the id: it would not say which of two runs it belongs to.
            raise ProcessNotReady(f"a task {request.task_id} is in flight already")
        self._tasks.add(request, deliver, self._clock.monotonic())
        # A process that starts gets it later: one that dies before it is ready must not have seen the task.
        if self.stage is Stage.READY:
            self._child.send(encode_request(request, partial(self._clock.sleep, TURN_S)))

    def close_input(self) -> None:
        """Close its input behind the tasks sent: none will follow."""
        self._child.close_input()

    def cancel(self, task_id: str, reason: str) -> None:
        """End the process because of one of its tasks; an unknown id changes nothing."""
        if self._tasks.decide(task_id, Cancelled(reason)):
            self._replace(f"cancelled: {reason}")

    def limit(self, task_id: str, run_limit_s: float | None) -> None:
        """Bound the run of one of its tasks by another limit; nothing to do when it does not hold it."""
        self._tasks.limit(task_id, run_limit_s)

    def dismiss(self, why: str, *, ask_s: float, grace_s: float, dump: bool = False) -> None:
        """Ask the process to leave; see :meth:`~appliance.process.child.Child.end` for the steps."""
        if self.ended is not None:
            return
        self.stage = lifecycle.advance(self.stage, Event.DISMISSED)
        # The first reason stays: a stop that comes later is not why this process ends.
        self._why = self._why or _Why(why)
        self._log.info("process.stopping", pid=self.pid, reason=why)
        self._child.end(ask_s=ask_s, grace_s=grace_s, dump=dump)

    def let_exit(self, grace_s: float) -> None:
        """The process has done all it was started for: give it ``grace_s`` to exit by itself.

        One that is being ended already keeps the times it was given: a stop must not take longer because
        an answer came.
        """
        if self.stage is not Stage.READY:
            return
        self.stage = lifecycle.advance(self.stage, Event.DISMISSED)
        # Not logged: this is the usual end of every one-shot process.
        self._why = self._why or _Why("it had answered")
        self._child.end(ask_s=grace_s, grace_s=grace_s)

    def stop(self, grace_s: float) -> None:
        """End the process with the worker; answers that still come count. Returns at once."""
        self.dismiss("the worker stops", ask_s=min(ASK_S, grace_s / 2), grace_s=grace_s)

    def wait(self) -> None:
        """Wait until it is gone."""
        self._child.wait()

    def due_s(self) -> float | None:
        """When :meth:`tick` has something to do next."""
        if self.stage is Stage.READY:
            return self._tasks.due_s()
        if self.stage is not Stage.STARTING:
            return None
        until_ready_s = self.started_s + self.spec.startup_timeout_s
        task_due_s = self._tasks.due_s()
        return until_ready_s if task_due_s is None else min(until_ready_s, task_due_s)

    def tick(self, now_s: float) -> None:
        """Enforce the time to get ready and the tasks' limits."""
        if self.stage is Stage.STARTING and now_s >= self.started_s + self.spec.startup_timeout_s:
            self.on_broken(f"was not ready within {self.spec.startup_timeout_s:g} s")
        # A process that is being ended already is not ended again: each end would restart its grace.
        if self.stage not in (Stage.STARTING, Stage.READY):
            return
        for task_id, outcome in self._tasks.overdue(now_s):
            self._log.warning("process.task_timed_out", pid=self.pid, task_id=task_id, reason=outcome.reason)
            self._tasks.decide(task_id, outcome)
            self._replace(f"a task's limit passed ({outcome.reason})", dump=True)

    # What the child reports ----------------------------------------------------------------------

    def on_event(self, event: Ready | StartError | Answer | Report) -> None:
        """See :class:`~appliance.process.listener.Listener`."""
        match event:
            case Answer():  # first, as there is one for every task
                self._answered(event.task_id, event.outcome)
            case Ready() if self.stage is Stage.STARTING:
                self._become_ready()
            case StartError(text) if self.stage is Stage.STARTING:
                said = _quote(self._hooks.redact(text[:_ERROR_CHARS]))
                self.on_broken("reported that it cannot start", f": {said}")
            case Report(task_id) if (whose := task_id or self._tasks.only) and whose in self._tasks:
                self._hooks.on_progress(whose, event)
            case _:
                self._log.debug("process.noise", pid=self.pid, greeting=type(event).__name__)

    def on_output(self, source: str, text: str) -> None:
        """See :class:`~appliance.process.listener.Listener`."""
        if source == "stdout":
            self._log.debug("process.noise", pid=self.pid, length=len(text))
            named = _named(text, self._tasks.task_ids)
            if named is not None and self._experience.is_news("answer"):
                self._log.warning("process.no_answer", pid=self.pid, task_id=named, hint=_NO_ANSWER)
        self._hooks.on_output(source, text, self._tasks.only)

    def on_broken(self, reason: str, said: str = "") -> None:
        """See :class:`~appliance.process.listener.Listener`; ``said`` are the process's words on it."""
        before = self.stage
        self.stage = lifecycle.advance(before, Event.BROKEN)
        if self.stage is before:
            return  # it is being ended already, with the times of that request
        self._why = _Why(reason, said)
        self._log.warning("process.broken", pid=self.pid, reason=reason + said)
        # Not asked: what is broken may not read its input, and what it still says cannot be relied on.
        self._child.end(ask_s=0, grace_s=self.spec.stop_grace_s)

    def on_exit(self, ended: ProcessExit) -> None:
        """See :class:`~appliance.process.listener.Listener`."""
        self.stage = lifecycle.advance(self.stage, Event.EXITED)
        expected = self.stage is Stage.LEFT
        # The system's text quotes the command that could not be started, and a command may hold a secret.
        how = text = self._hooks.redact(ended.text)
        if self._why and not expected:
            how, text = f"{self._why.reason}; {text}", f"{self._why.reason}{self._why.said}; {text}"
        culprit = self._experience.crashed(self._tasks.requests()) if self.stage is Stage.CRASHED else None
        self.ended = ended = replace(ended, text=text, charged_to=culprit.task_id if culprit else "")
        tell = _routine(self._log, self.spec) if expected else self._log.warning
        tell("process.exited", exit=text, uptime_s=round(ended.uptime_s, 3), expected=expected)
        stacks = stack_dump.found(ended.stderr_tail)
        # Before the ledger is cleared: the report names the tasks that were in flight. And before the owner
        # hears of it, so that the log has a crash before the restart that follows.
        if not expected or (stacks and self._tasks.timed_out):
            self._hooks.on_crash(_crash_report(self, ended, how, self._tasks, self._clock.wall()))
        why = self._why.reason if self._why else "it left"
        reason = f"the task process was ended: {why}" if expected else _reason(self.stage, ended)
        for entry in self._tasks.clear():
            outcome = entry.decided or lifecycle.unfinished(self.stage, reason)
            entry.deliver(entry.request, _with_stacks(outcome, stacks))
        self._owner.process_ended(self)

    def _become_ready(self) -> None:
        now_s = self._clock.monotonic()
        self.stage = lifecycle.advance(self.stage, Event.READY)
        _routine(self._log, self.spec)(
            "process.ready", pid=self.pid, seconds=round(now_s - self.started_s, 3)
        )
        self._tasks.begin(now_s)
        # Before the owner hears of it: a one-shot runner closes the input behind the task.
        for request in self._tasks.requests():
            self._child.send(encode_request(request, partial(self._clock.sleep, TURN_S)))
        self._owner.process_ready(self)

    def _answered(self, task_id: str, outcome: Outcome) -> None:
        now_s = self._clock.monotonic()
        entry = self._tasks.answered(task_id, now_s)
        if entry is None:
            count = self._tasks.ignored_answers
            # A process with this fault may repeat it a million times, with whatever it takes for an id.
            tell = self._log.warning if count == 1 else self._log.debug
            tell("process.answer_ignored", pid=self.pid, answered_id=task_id[:100], count=count)
            return
        # An error text goes into logs and to operators; a result is the task's data and stays as it is.
        if isinstance(outcome, Failed):
            # Longer than what is stored of it, so that no secret lies across the end of what is stored.
            outcome = Failed(self._hooks.redact(outcome.error[:_ERROR_CHARS]), outcome.retry)
        elif isinstance(outcome, Succeeded):
            self._experience.succeeded()
        if self._experience.answered(entry, now_s, len(self._tasks)):
            in_flight = self._experience.turns.most
            self._log.warning("process.one_at_a_time", pid=self.pid, in_flight=in_flight, hint=_ONE_AT_A_TIME)
        entry.deliver(entry.request, outcome)
        self._owner.process_answered(self)

    def _replace(self, why: str, *, dump: bool = False) -> None:
        # Several tasks may time out in one tick: the first ends the process for all of them.
        if self.stage in (Stage.STARTING, Stage.READY):
            self.dismiss(why, ask_s=0, grace_s=self.spec.stop_grace_s, dump=dump)
            self._owner.process_leaving(self)


def _routine(log: Any, spec: ProcessSpec) -> Callable[..., object]:
    """How to log what is the usual life of a process: lines for each task would hide what matters."""
    tell: Callable[..., object] = log.debug if spec.one_task else log.info
    return tell


def _named(text: str, task_ids: tuple[str, ...]) -> str | None:
    """The first of these tasks that a line names: it may have been meant as its answer."""
    for task_id in task_ids:
        # A short id, such as a number, may stand in any text by chance.
        if (task_id if len(task_id) >= _TELLING_ID_CHARS else f'"{task_id}"') in text:
            return task_id
    return None


def _crash_report(
    process: TaskProcess, ended: ProcessExit, how: str, tasks: InFlight, when_wall_s: float
) -> CrashReport:
    return CrashReport(
        when_wall_s=when_wall_s,
        exit=ended.text,
        how=how,
        uptime_s=ended.uptime_s,
        stderr_tail=ended.stderr_tail,
        task_ids=tasks.task_ids,
        was_ready=process.stage is Stage.CRASHED,
        memory_peak_bytes=ended.memory_peak_bytes,
        commit=process.spec.commit,
        charged_to=ended.charged_to,
        stacks=stack_dump.found(ended.stderr_tail),
        timed_out=tasks.timed_out if process.stage is Stage.LEFT else (),
    )


def _with_stacks(outcome: Outcome, stacks: tuple[str, ...]) -> Outcome:
    if not stacks or not isinstance(outcome, TimedOut):
        return outcome
    where = "\n".join(stacks[1:])
    return TimedOut(f"{outcome.reason}\nwhere the process stood then, most recent call first:\n{where}")


def _reason(stage: Stage, ended: ProcessExit) -> str:
    """Say why a process ended that was not asked to, for the tasks it held."""
    what = "ended while the task ran" if stage is Stage.CRASHED else "did not start"
    reason = f"the task process {what}: {ended.text}"
    if stacks := stack_dump.found(ended.stderr_tail):
        reason += f"; {_quote(stack_dump.headline(stacks))}"
    elif ended.stderr_tail:
        reason += f"; last error line: {_quote(ended.stderr_tail[-1])}"
    return reason


def _quote(line: str) -> str:
    return line if len(line) <= _QUOTED_CHARS else line[:_QUOTED_CHARS] + "…"
