"""The runner of ``one_shot`` code: a process for each task, as many at once as tasks were submitted.

A process gets ready, is sent its one task, its stdin is closed, it answers and exits.

- An answer is delivered when it comes; the process then has its grace to exit. A process that still
  lingers keeps its place: a new task waits for it, so that there are never more processes than tasks
  were submitted at once.
- A process that fails to start gives its task back uncharged, and counts in recovery: until the next
  attempt is due nothing is accepted. Processes that were started before that failure and fail as well are
  part of it. One that gets ready proves that starting works and ends the row of failures.
- A process that crashes with its task in hand ends it as :class:`~appliance.process.work.Died` and does not
  count in recovery: the next task gets a new process anyway.
- Other code (:meth:`OneShot.succeed`) is what the next task gets; there is no process to try it with before.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from appliance.clock import Clock
from appliance.config.settings import RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process.alarm import Alarm
from appliance.process.child import Child
from appliance.process.lifecycle import Stage
from appliance.process.recovery import Decision, GiveUp, Phase, Recovery, Signal, Wait
from appliance.process.supervisor import Hooks, MakeChild, ProcessSpec, Supervised
from appliance.process.work import Cancelled, Deliver, Expired, Outcome, Request, Returned, RunnerState

log = structlog.get_logger()

_OPEN = (Phase.STARTING, Phase.RUNNING)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A task that waits for a lingering process to be gone."""

    request: Request
    deliver: Deliver

    def end(self, outcome: Outcome) -> None:
        self.deliver(self.request, outcome)


class OneShot:
    """See the module and :class:`~appliance.process.work.Runner`."""

    def __init__(
        self,
        parent: str,
        spec: ProcessSpec,
        recovery: RecoverySettings,
        clock: Clock,
        hooks: Hooks,
        make_child: MakeChild = Child,
    ) -> None:
        self._parent = parent
        self._spec = spec
        # No process runs long enough to cool down: that it became ready has to be proof enough.
        self._recovery = Recovery(replace(recovery, cooldown_period_s=0.0))
        self._clock = clock
        self._hooks = hooks
        self._make_child = make_child
        self._processes: set[Supervised] = set()
        self._lingering: set[Supervised] = set()
        self._waiting: deque[_Waiting] = deque()
        self._failed_s = float("-inf")
        self._alarm = Alarm(clock, self.tick)

    def start(self) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        self._recovery.on(Signal.START, self._clock.monotonic())
        self._alarm.start()
        self._hooks.on_change()

    def stop(self, grace_s: float) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        self._recovery.on(Signal.STOP, self._clock.monotonic())
        self._alarm.stop()
        self._return_waiting("the worker stops")
        processes = list(self._processes)
        for process in processes:
            process.stop(grace_s)
        for process in processes:
            process.wait()
        self._hooks.on_change()

    @property
    def ready(self) -> bool:
        """See :class:`~appliance.process.work.Runner`: true unless backing off, degraded or stopped."""
        return self._recovery.phase in _OPEN

    def submit(self, request: Request, deliver: Deliver) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        if not self.ready:
            phase = self._recovery.phase.name.lower()
            raise ProcessNotReady(f"no task process of {self._parent} is started: {phase}")
        if len(self._waiting) < len(self._lingering):
            self._waiting.append(_Waiting(request, deliver))
            self._alarm.at(request.deadline_monotonic_s)
        else:
            self._launch(request, deliver)

    def succeed(self, spec: ProcessSpec, done: Callable[[str | None], None]) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        self._spec = spec
        if not self.ready:
            self._recovery.on(Signal.RENEWED, self._clock.monotonic())
        self._failed_s = self._clock.monotonic()  # what the old code's processes still do counts no more
        done(None)
        self._hooks.on_change()

    def folders(self) -> set[Path]:
        """See :class:`~appliance.process.work.Runner`."""
        return {self._spec.cwd, *(process.cwd for process in self._processes)}

    def cancel(self, task_id: str, reason: str) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        for process in list(self._processes):
            process.cancel(task_id, reason)
        for waiting in [one for one in self._waiting if one.request.task_id == task_id]:
            self._waiting.remove(waiting)
            waiting.end(Cancelled(reason))

    def state(self) -> RunnerState:
        """See :class:`~appliance.process.work.Runner`."""
        return RunnerState(
            recovery=self._recovery.label(),
            ready=self.ready,
            consecutive_fails=self._recovery.consecutive_fails(self._clock.monotonic()),
            total_restarts=self._recovery.total_restarts,
            pids=tuple(sorted(one.pid for one in self._processes if one.pid is not None)),
        )

    def tick(self) -> float | None:
        """Do what is due; returns when the next thing is (monotonic seconds), None for nothing."""
        now_s = self._clock.monotonic()
        if self._recovery.due_s is not None and now_s >= self._recovery.due_s:
            self._recovery.on(Signal.DUE, now_s)
            self._hooks.on_change()
        for process in list(self._processes):
            process.tick(now_s)
        for waiting in [one for one in self._waiting if _deadline_s(one) <= now_s]:
            self._waiting.remove(waiting)
            waiting.end(Expired("deadline: it passed before the run"))
        dues = [self._recovery.due_s, *(process.due_s() for process in self._processes)]
        dues += [one.request.deadline_monotonic_s for one in self._waiting]
        return min((due for due in dues if due is not None), default=None)

    # What the processes tell ---------------------------------------------------------------------

    def process_ready(self, process: Supervised) -> None:
        """Its task was sent: nothing will follow."""
        process.close_input()
        self._alarm.at(process.due_s())
        if self._recovery.phase is Phase.STARTING:
            self._recovery.on(Signal.READY, self._clock.monotonic())
            self._hooks.on_change()

    def process_leaving(self, process: Supervised) -> None:
        """Nothing to do: it is its own task's end alone."""

    def process_answered(self, process: Supervised) -> None:
        """It has nothing left to do but exit."""
        self._lingering.add(process)
        process.let_go(self._spec.stop_grace_s)

    def process_ended(self, process: Supervised) -> None:
        """See :class:`~appliance.process.supervisor.Owner`."""
        self._processes.discard(process)
        self._lingering.discard(process)
        if process.stage is Stage.START_FAILED:
            self._start_failed(process)
        if process.cwd != self._spec.cwd:
            self._hooks.on_change()  # the folder it ran in may be free now
        if self.ready and self._waiting and len(self._waiting) > len(self._lingering):
            waiting = self._waiting.popleft()
            self._launch(waiting.request, waiting.deliver)

    def _start_failed(self, process: Supervised) -> None:
        if not self.ready or process.started_s < self._failed_s:
            return  # part of a failure that was counted already
        ended_s = process.ended.at_monotonic_s if process.ended else self._clock.monotonic()
        self._failed_s = ended_s
        self._act(self._recovery.on(Signal.FAILED, ended_s))
        self._return_waiting("the task process did not start")
        self._hooks.on_change()

    def _act(self, decision: Decision) -> None:
        match decision:
            case Wait(due_s, delay_s, restart):
                log.info("child.restart_scheduled", queue=self._parent, delay_s=delay_s, restart=restart)
                self._alarm.at(due_s)
            case GiveUp():
                fails = self._recovery.consecutive_fails(self._clock.monotonic())
                log.error("child.degraded", queue=self._parent, consecutive_fails=fails)

    def _launch(self, request: Request, deliver: Deliver) -> None:
        process = Supervised(self._parent, self._spec, self._clock, self._hooks, self, self._make_child)
        self._processes.add(process)
        process.submit(request, deliver)
        process.start()
        self._alarm.at(process.due_s())

    def _return_waiting(self, reason: str) -> None:
        while self._waiting:
            self._waiting.popleft().end(Returned(reason))


def _deadline_s(waiting: _Waiting) -> float:
    deadline_s = waiting.request.deadline_monotonic_s
    return float("inf") if deadline_s is None else deadline_s
