"""The runner of ``one_shot`` code: a process for each task, as many at once as tasks were submitted.

A process gets ready, is sent its one task, its stdin is closed, it answers and exits.

- An answer is delivered when it comes; the process then has its grace to exit. A process that still
  lingers keeps its place: a new task waits for it, so that there are never more processes than tasks
  were submitted at once.
- A process that fails to start gives its task back uncharged, and counts in recovery: until the next
  attempt is due nothing is accepted. Processes that were started before that failure and fail as well are
  part of it. One that gets ready proves that starting works, and the failures count from 1 again.
- A process that crashes with its task ends it as :class:`~appliance.process.outcome.Crashed` and does not
  count in recovery: the next task gets a new process anyway.
- Other code (:meth:`OneShot.hand_over`) is what the next task gets; there is no process to try it with
  before.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from appliance.clock import Clock
from appliance.config.settings import RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process.child import Child
from appliance.process.lifecycle import Stage
from appliance.process.outcome import Cancelled, Outcome, Returned, TimedOut
from appliance.process.recovery import Event, Phase
from appliance.process.runner import Deliver, Request, RunnerState
from appliance.process.runners.starter import Starter
from appliance.process.spec import Hooks, ProcessSpec
from appliance.process.task_process import MakeChild, TaskProcess
from appliance.values import value_class

_OPEN = (Phase.STARTING, Phase.RUNNING)


@value_class(slots=True)
class _Waiting:
    """A task that waits for a lingering process to be gone."""

    request: Request
    deliver: Deliver

    def end(self, outcome: Outcome) -> None:
        self.deliver(self.request, outcome)


class OneShot:
    """See the module and :class:`~appliance.process.runner.Runner`."""

    def __init__(
        self,
        parent: str,
        spec: ProcessSpec,
        recovery: RecoverySettings,
        clock: Clock,
        hooks: Hooks,
        make_child: MakeChild = Child,
    ) -> None:
        self._spec = spec
        # No process runs long enough to cool down: that it became ready has to be proof enough.
        recovery = replace(recovery, cooldown_period_s=0.0)
        self._starter = Starter(parent, recovery, clock, hooks, make_child, self.tick)
        self._clock = clock
        self._hooks = hooks
        self._processes: set[TaskProcess] = set()
        self._lingering: set[TaskProcess] = set()
        self._waiting: deque[_Waiting] = deque()
        #: When the last failure that counted happened; see the module for those that do not.
        self._failed_s = float("-inf")

    def start(self) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        self._starter.on(Event.START)
        self._starter.alarm.start()
        self._hooks.on_change()

    def stop(self, grace_s: float) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        # First, so that no process that ends from here on makes room for a task that waits.
        self._starter.on(Event.STOP)
        self._starter.alarm.stop()
        self._return_waiting("the worker stops")
        processes = list(self._processes)
        # All are asked before one is waited for: they share the grace.
        for process in processes:
            process.stop(grace_s)
        for process in processes:
            process.wait()
        self._hooks.on_change()

    @property
    def ready(self) -> bool:
        """See :class:`~appliance.process.runner.Runner`: true unless backing off, degraded or stopped."""
        return self._starter.phase in _OPEN

    def submit(self, request: Request, deliver: Deliver) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        if not self.ready:
            phase = self._starter.phase.name.lower()
            raise ProcessNotReady(f"no task process of {self._starter.parent} is started: {phase}")
        # Each lingering process holds up one task: where all have one waiting, the next task's place is free.
        if len(self._waiting) < len(self._lingering):
            self._waiting.append(_Waiting(request, deliver))
            self._starter.alarm.at(request.deadline_monotonic_s)
        else:
            self._launch(request, deliver)

    def hand_over(self, spec: ProcessSpec, done: Callable[[str | None], None]) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        self._spec = spec
        if not self.ready:
            self._starter.on(Event.RENEWED)
        # From now on failures of processes of the code before are not counted.
        self._failed_s = self._clock.monotonic()
        done(None)
        self._hooks.on_change()

    def folders(self) -> set[Path]:
        """See :class:`~appliance.process.runner.Runner`."""
        return {self._spec.cwd, *(process.spec.cwd for process in self._processes)}

    def cancel(self, task_id: str, reason: str) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        for process in list(self._processes):
            process.cancel(task_id, reason)
        for waiting in [one for one in self._waiting if one.request.task_id == task_id]:
            self._waiting.remove(waiting)
            waiting.end(Cancelled(reason))

    def limit(self, task_id: str, run_limit_s: float | None) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        for process in self._processes:
            process.limit(task_id, run_limit_s)
            self._starter.alarm.at(process.due_s())
        self._waiting = deque(
            replace(one, request=one.request._replace(run_limit_s=run_limit_s))
            if one.request.task_id == task_id
            else one
            for one in self._waiting
        )

    def state(self) -> RunnerState:
        """See :class:`~appliance.process.runner.Runner`."""
        # Sorted, since a set has no order: two looks at the same processes must show the same.
        return self._starter.state(self.ready, sorted(self._processes, key=lambda process: process.pid or 0))

    def tick(self) -> float | None:
        """Do what is due; returns when the next thing is (monotonic seconds), None for nothing."""
        now_s = self._clock.monotonic()
        # There is no task to start a process for: that the time has come opens the intake.
        if self._starter.is_due(now_s):
            self._hooks.on_change()
        for process in list(self._processes):
            process.tick(now_s)
        for waiting in [one for one in self._waiting if _deadline_s(one) <= now_s]:
            self._waiting.remove(waiting)
            waiting.end(TimedOut("deadline: it passed before the run"))
        dues = [self._starter.due_s, *(process.due_s() for process in self._processes)]
        dues += [one.request.deadline_monotonic_s for one in self._waiting]
        return min((due for due in dues if due is not None), default=None)

    # What the processes report -------------------------------------------------------------------

    def process_ready(self, process: TaskProcess, /) -> None:
        """Its one task was sent: nothing will follow."""
        process.close_input()
        self._starter.alarm.at(process.due_s())
        # Others may have become ready before it: recovery wants to know once.
        if self._starter.phase is Phase.STARTING:
            self._starter.on(Event.READY)
            self._hooks.on_change()

    def process_leaving(self, process: TaskProcess, /) -> None:
        """Nothing to do: no other task ends with it."""

    def process_answered(self, process: TaskProcess, /) -> None:
        """It has nothing left to do but exit."""
        # It has answered, but holds memory and perhaps a GPU until it is gone.
        self._lingering.add(process)
        process.let_exit(self._spec.stop_grace_s)

    def process_ended(self, process: TaskProcess, /) -> None:
        """See :class:`~appliance.process.task_process.Owner`."""
        self._processes.discard(process)
        self._lingering.discard(process)
        if process.stage is Stage.START_FAILED:
            self._start_failed(process)
        if process.spec.cwd != self._spec.cwd:
            self._hooks.on_change()  # the folder it ran in may be free now
        # Behind the failure: where starting fails, the tasks that waited were returned just now.
        if self.ready and self._waiting and len(self._waiting) > len(self._lingering):
            waiting = self._waiting.popleft()
            self._launch(waiting.request, waiting.deliver)

    def _start_failed(self, process: TaskProcess) -> None:
        if not self.ready or process.started_s < self._failed_s:
            return  # part of a failure that was counted already
        self._failed_s = process.ended.at_monotonic_s if process.ended else self._clock.monotonic()
        self._starter.ended(process, Event.FAILED)
        self._return_waiting("the task process did not start")
        self._hooks.on_change()

    def _launch(self, request: Request, deliver: Deliver) -> None:
        process = self._starter.start(self._spec, self)
        self._processes.add(process)
        process.submit(request, deliver)
        self._starter.alarm.at(process.due_s())

    def _return_waiting(self, reason: str) -> None:
        while self._waiting:
            self._waiting.popleft().end(Returned(reason))


def _deadline_s(waiting: _Waiting) -> float:
    deadline_s = waiting.request.deadline_monotonic_s
    return float("inf") if deadline_s is None else deadline_s
