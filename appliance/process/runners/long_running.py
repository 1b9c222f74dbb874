"""The runner of ``long_running`` code: one process for all tasks, restarted as recovery says.

- Several tasks may be in flight; the process answers in any order. How many is the dispatcher's choice.
- A crash ends every task in flight as :class:`~appliance.process.outcome.Crashed`.
- A task's limit or cancellation replaces the process: a planned end, so no crash and no delay. Tasks in
  flight that it did not answer come back uncharged. That the replacement gets ready is not taken for
  granted: if it does not, that counts.
- The next process starts only when the one before is gone, descendants included. The exceptions are recycling
  and redeployment: :mod:`appliance.process.handover` has their states and rules.
"""

from collections.abc import Callable
from pathlib import Path

import structlog

from appliance.clock import Clock
from appliance.config.settings import ProcessSettings, RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process import handover, recovery, recycling
from appliance.process.child import Child
from appliance.process.handover import Action, State
from appliance.process.lifecycle import Stage
from appliance.process.runner import Deliver, Request, RunnerState
from appliance.process.runners.starter import Starter
from appliance.process.spec import Hooks, ProcessSpec
from appliance.process.task_process import ASK_S, MakeChild, TaskProcess
from appliance.values import value_class

log = structlog.get_logger()


@value_class(slots=True)
class _Redeployment:
    """Other code that is to take over; ``done`` is called with None when it has, or with why it has not."""

    spec: ProcessSpec
    done: Callable[[str | None], None]


class LongRunning:
    """See the module and :class:`~appliance.process.runner.Runner`."""

    def __init__(
        self,
        parent: str,
        spec: ProcessSpec,
        recovery: RecoverySettings,
        clock: Clock,
        hooks: Hooks,
        make_child: MakeChild = Child,
        limits: ProcessSettings | None = None,
    ) -> None:
        self._log = log.bind(parent=parent)
        self._spec = spec
        self._clock = clock
        self._hooks = hooks
        self._starter = Starter(parent, recovery, clock, hooks, make_child, self.tick)
        self._age = recycling.Age(limits or ProcessSettings())
        self._plan = State.SERVING
        self._serving: TaskProcess | None = None
        self._standby: TaskProcess | None = None
        self._retiring: list[TaskProcess] = []
        self._redeployment: _Redeployment | None = None

    def start(self) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        if self._starter.on(recovery.Event.START):
            self._serving = self._starter.start(self._spec, self)
        self._starter.alarm.start()

    def stop(self, grace_s: float) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        # First, so that no end that follows starts another process.
        self._starter.on(recovery.Event.STOP)
        self._starter.alarm.stop()
        processes = self._processes()
        # All are asked before one is waited for: they share the grace.
        for process in processes:
            process.stop(grace_s)
        for process in processes:
            process.wait()
        self._hooks.on_change()

    @property
    def ready(self) -> bool:
        """See :class:`~appliance.process.runner.Runner`."""
        # Not while one starts or is being ended: a worker that recovers must not cost a task anything.
        serves = self._serving is not None and self._serving.stage is Stage.READY
        return serves and self._plan not in handover.CLOSED

    def submit(self, request: Request, deliver: Deliver) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        if self._serving is None or not self.ready:
            phase = self._starter.phase.name.lower()
            raise ProcessNotReady(f"the task process of {self._starter.parent} is {phase}")
        self._serving.submit(request, deliver)
        # Its limit may be the next thing that is due.
        self._starter.alarm.at(self._serving.due_s())

    def hand_over(self, spec: ProcessSpec, done: Callable[[str | None], None]) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        # Asked first: a second model that does not fit would have the kernel kill the one that works.
        lack = recycling.lack_of_memory(self._serving.pid or 0) if self._serving else None
        if lack is not None:
            done(lack)
        else:
            self._advance(handover.Event.REDEPLOY, _Redeployment(spec, done))

    def folders(self) -> set[Path]:
        """See :class:`~appliance.process.runner.Runner`."""
        # Those on their way out as well: their code must stay on disk until they are gone.
        return {self._spec.cwd, *(process.spec.cwd for process in self._processes())}

    def cancel(self, task_id: str, reason: str) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        for process in self._processes():
            process.cancel(task_id, reason)

    def limit(self, task_id: str, run_limit_s: float | None) -> None:
        """See :class:`~appliance.process.runner.Runner`."""
        for process in self._processes():
            process.limit(task_id, run_limit_s)
            self._starter.alarm.at(process.due_s())

    def state(self) -> RunnerState:
        """See :class:`~appliance.process.runner.Runner`."""
        return self._starter.state(self.ready, self._processes())

    def tick(self) -> float | None:
        """Do what is due; returns when the next thing is (monotonic seconds), None for nothing."""
        now_s = self._clock.monotonic()
        if self._starter.is_due(now_s):
            self._serving = self._starter.start(self._spec, self)
        for process in self._processes():
            process.tick(now_s)
        dues = [self._starter.due_s, *(process.due_s() for process in self._processes())]
        if self._age.watches_memory and self._serving is not None:
            self._check_age(self._serving, now_s, recycling.memory_bytes(self._serving.pid or 0))
            dues.append(now_s + recycling.LOOK_S)
        return min((due for due in dues if due is not None), default=None)

    def process_ready(self, process: TaskProcess, /) -> None:
        """See :class:`~appliance.process.task_process.Owner`."""
        if process is self._standby:
            self._advance(handover.Event.STANDBY_READY)
        else:
            self._starter.on(recovery.Event.READY)
        self._hooks.on_change()

    def process_leaving(self, process: TaskProcess, /) -> None:
        """See :class:`~appliance.process.task_process.Owner`."""
        if process is self._serving:
            # Announced now: by the time it ends, its end must be known as a planned one.
            self._starter.on(recovery.Event.REPLACE)
            self._advance(handover.Event.SERVING_ENDS)
        self._hooks.on_change()

    def process_answered(self, process: TaskProcess, /) -> None:
        """The task behind the one answered is the oldest now: its run limit has begun."""
        self._starter.alarm.at(process.due_s())
        if process in self._retiring:
            _dismiss_if_idle(process)
        elif process is self._serving:
            self._age.answered()
            # Without its memory: reading that for every answer would cost more than a short task.
            self._check_age(process, self._clock.monotonic())

    def process_ended(self, process: TaskProcess, /) -> None:
        """See :class:`~appliance.process.task_process.Owner`."""
        if process in self._retiring:
            # However it ended: recovery is about the process that serves, and another has that place.
            self._retiring.remove(process)
        elif process is self._standby:
            self._advance(handover.Event.STANDBY_ENDED)
        else:
            self._serving = None
            self._age.renewed()
            # Before recovery starts a fresh process: with a standby beside it there would be three.
            self._advance(handover.Event.SERVING_ENDS)
            planned = process.stage is Stage.LEFT
            if self._starter.ended(process, recovery.Event.ENDED if planned else recovery.Event.FAILED):
                self._serving = self._starter.start(self._spec, self)
        self._hooks.on_change()

    def _advance(self, event: handover.Event, redeployment: _Redeployment | None = None) -> None:
        self._plan, action = handover.advance(self._plan, event)
        match action:
            case Action.START_STANDBY:
                self._drop_standby()
                self._redeployment = redeployment
                spec = redeployment.spec if redeployment else self._spec
                self._standby = self._starter.start(spec, self)
            case Action.DROP_STANDBY:
                self._drop_standby()
            case Action.CLOSE_INTAKE:
                self._hooks.on_change()
            case Action.TAKE_OVER:
                self._take_over()
            case Action.POSTPONE:
                self._standby = None
                self._age.postpone(self._clock.monotonic())
            case Action.REFUSE:
                standby, self._standby = self._standby, None
                exit_text = standby.ended.text if standby and standby.ended else "it ended"
                self._answer_redeployment(f"its process did not get ready: {exit_text}")

    def _take_over(self) -> None:
        before, self._serving, self._standby = self._serving, self._standby, None
        self._age.renewed()
        if before is not None:
            self._retiring.append(before)
            _retire(before)
        if self._redeployment is not None:
            self._spec = self._redeployment.spec
            self._starter.forget_failures()
            self._answer_redeployment(None)

    def _answer_redeployment(self, refusal: str | None) -> None:
        # Taken first: the receiver may hand over to the next code at once.
        redeployment, self._redeployment = self._redeployment, None
        if redeployment is not None:
            redeployment.done(refusal)

    def _drop_standby(self) -> None:
        if self._standby is not None:
            self._standby.stop(self._spec.stop_grace_s)
            # Not forgotten: a stop has to wait for it, and its folder is in use until it is gone.
            self._retiring.append(self._standby)
            self._standby = None

    def _check_age(self, process: TaskProcess, now_s: float, memory_bytes: int = 0) -> None:
        # Not while another retires: a process that is slow to leave would be joined by more and more.
        may_recycle = self._plan is State.SERVING and not self._retiring and process.stage is Stage.READY
        reason = self._age.too_old(now_s, memory_bytes) if may_recycle else None
        if reason is not None:
            room = recycling.lack_of_memory(process.pid or 0) is None
            self._log.info("process.recycling", pid=process.pid, reason=reason, overlap=room)
            self._advance(handover.Event.AGED if room else handover.Event.AGED_WITHOUT_ROOM)
        if self._plan in handover.CLOSED and _is_idle(process):
            self._starter.on(recovery.Event.REPLACE)
            _dismiss_if_idle(process)

    def _processes(self) -> list[TaskProcess]:
        return [one for one in (self._serving, self._standby, *self._retiring) if one is not None]


def _is_idle(process: TaskProcess) -> bool:
    return process.idle and process.stage is Stage.READY


def _retire(process: TaskProcess) -> None:
    """Let a process that was replaced answer what it holds, and end it."""
    if process.stage is Stage.READY:
        _dismiss_if_idle(process)
    else:
        # Now: one that still starts would otherwise become ready, and stay for ever.
        process.stop(process.spec.stop_grace_s)


def _dismiss_if_idle(process: TaskProcess) -> None:
    if _is_idle(process):
        process.dismiss("it was recycled", ask_s=ASK_S, grace_s=process.spec.stop_grace_s)
