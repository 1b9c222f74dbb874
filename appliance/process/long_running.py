"""The runner of ``long_running`` code: one process for all tasks, restarted as recovery says.

- Several tasks may be in flight; the process answers in any order. How many is the dispatcher's choice.
- A crash ends every task in flight as :class:`~appliance.process.work.Died`.
- A task's limit or cancellation replaces the process: a planned end, so no crash and no delay. What the
  others in flight were not answered comes back uncharged. That the replacement gets ready is not
  taken for granted: if it does not, that counts.
- The next process starts only when the one before is gone, descendants included.
"""

import structlog

from appliance.clock import Clock
from appliance.config.settings import RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process.alarm import Alarm
from appliance.process.child import Child
from appliance.process.lifecycle import Stage
from appliance.process.recovery import Decision, GiveUp, Recovery, Signal, Start, Wait
from appliance.process.supervisor import Hooks, MakeChild, ProcessSpec, Supervised
from appliance.process.work import Deliver, Request, RunnerState

log = structlog.get_logger()


class LongRunning:
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
        self._recovery = Recovery(recovery)
        self._clock = clock
        self._hooks = hooks
        self._make_child = make_child
        self._process: Supervised | None = None
        self._alarm = Alarm(clock, self.tick)

    def start(self) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        self._act(self._recovery.on(Signal.START, self._clock.monotonic()))
        self._alarm.start()

    def stop(self, grace_s: float) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        self._recovery.on(Signal.STOP, self._clock.monotonic())
        self._alarm.stop()
        if self._process is not None:
            self._process.stop(grace_s)
            self._process.wait()
        self._hooks.on_change()

    @property
    def ready(self) -> bool:
        """See :class:`~appliance.process.work.Runner`."""
        return self._process is not None and self._process.stage is Stage.READY

    def submit(self, request: Request, deliver: Deliver) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        if self._process is None or self._process.stage is not Stage.READY:
            raise ProcessNotReady(
                f"the task process of {self._parent} is {self._recovery.phase.name.lower()}"
            )
        self._process.submit(request, deliver)
        self._alarm.at(self._process.due_s())

    def cancel(self, task_id: str, reason: str) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        if self._process is not None:
            self._process.cancel(task_id, reason)

    def state(self) -> RunnerState:
        """See :class:`~appliance.process.work.Runner`."""
        pid = self._process.pid if self._process is not None else None
        return RunnerState(
            recovery=self._recovery.label(),
            ready=self.ready,
            consecutive_fails=self._recovery.consecutive_fails(self._clock.monotonic()),
            total_restarts=self._recovery.total_restarts,
            pids=() if pid is None else (pid,),
        )

    def tick(self) -> float | None:
        """Do what is due; returns when the next thing is (monotonic seconds), None for nothing."""
        now_s = self._clock.monotonic()
        if self._recovery.due_s is not None and now_s >= self._recovery.due_s:
            self._act(self._recovery.on(Signal.DUE, now_s))
        if self._process is not None:
            self._process.tick(now_s)
        dues = (self._recovery.due_s, self._process.due_s() if self._process is not None else None)
        return min((due for due in dues if due is not None), default=None)

    # What the process tells ----------------------------------------------------------------------

    def process_ready(self, _process: Supervised) -> None:
        """See :class:`~appliance.process.supervisor.Owner`."""
        self._recovery.on(Signal.READY, self._clock.monotonic())
        self._hooks.on_change()

    def process_leaving(self, _process: Supervised) -> None:
        """See :class:`~appliance.process.supervisor.Owner`."""
        self._recovery.on(Signal.REPLACE, self._clock.monotonic())
        self._hooks.on_change()

    def process_answered(self, process: Supervised) -> None:
        """The task behind it is the oldest now: its run limit has begun."""
        self._alarm.at(process.due_s())

    def process_ended(self, process: Supervised) -> None:
        """See :class:`~appliance.process.supervisor.Owner`."""
        self._process = None
        signal = Signal.ENDED if process.stage is Stage.LEFT else Signal.FAILED
        # The delay counts from the exit; what was left to read since then is not added to it.
        ended_s = process.ended.at_monotonic_s if process.ended else self._clock.monotonic()
        self._act(self._recovery.on(signal, ended_s))
        self._hooks.on_change()

    def _act(self, decision: Decision) -> None:
        match decision:
            case Start():
                self._process = Supervised(
                    self._parent, self._spec, self._clock, self._hooks, self, self._make_child
                )
                self._process.start()
                self._alarm.at(self._process.due_s())
            case Wait(due_s, delay_s, restart):
                log.info("child.restart_scheduled", queue=self._parent, delay_s=delay_s, restart=restart)
                self._alarm.at(due_s)
            case GiveUp():
                fails = self._recovery.consecutive_fails(self._clock.monotonic())
                log.error("child.degraded", queue=self._parent, consecutive_fails=fails)
