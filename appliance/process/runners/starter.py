"""Starts the processes of one runner, and decides with recovery when: the half that both runners share."""

from collections.abc import Callable, Iterable

import structlog

from appliance.clock import Clock
from appliance.config.settings import RecoverySettings
from appliance.process.alarm import Alarm
from appliance.process.experience import Experience
from appliance.process.recovery import Decision, Event, GiveUp, Phase, Recovery, Start, Wait
from appliance.process.runner import RunnerState
from appliance.process.spec import Hooks, ProcessSpec
from appliance.process.task_process import MakeChild, Owner, TaskProcess

log = structlog.get_logger()


class Starter:
    """Recovery with its clock, its alarm and its log events. ``tick`` is the runner's, called when due."""

    def __init__(
        self,
        parent: str,
        recovery: RecoverySettings,
        clock: Clock,
        hooks: Hooks,
        make_child: MakeChild,
        tick: Callable[[], float | None],
    ) -> None:
        self._log = log.bind(parent=parent)
        self.parent = parent
        self._recovery = Recovery(recovery)
        self._experience = Experience(recovery.max_restarts)
        self._clock = clock
        self._hooks = hooks
        self._make_child = make_child
        self.alarm = Alarm(clock, tick)

    @property
    def phase(self) -> Phase:
        """The present phase of recovery."""
        return self._recovery.phase

    @property
    def due_s(self) -> float | None:
        """When the next start is due; None while nothing waits."""
        return self._recovery.due_s

    def start(self, spec: ProcessSpec, owner: Owner) -> TaskProcess:
        """Start a process; returns at once."""
        process = TaskProcess(
            self.parent, spec, self._clock, self._hooks, owner, self._experience, self._make_child
        )
        process.start()
        # At once: the time to get ready must be enforced even when nothing else ever becomes due.
        self.alarm.at(process.due_s())
        return process

    def on(self, event: Event, at_s: float | None = None) -> bool:
        """Take an event that happened at ``at_s`` (None is now); True when a process is to be started now."""
        now_s = self._clock.monotonic() if at_s is None else at_s
        return self._is_start(self._recovery.on(event, now_s))

    def ended(self, process: TaskProcess, event: Event) -> bool:
        """Take the end of ``process`` as ``event``; True when the next one is to be started now."""
        if event is Event.FAILED and process.ended and process.ended.charged_to:
            event = Event.CRASHED_BY_TASK
        # The delay counts from the exit; what was left to read since then is not added to it.
        return self.on(event, process.ended.at_monotonic_s if process.ended else None)

    def forget_failures(self) -> None:
        """Other code works now, whatever the code before it did."""
        # The phase may be any: a restart of the code before may be waiting, or given up.
        self.on(Event.RENEWED)
        self.on(Event.READY)

    def is_due(self, now_s: float) -> bool:
        """Whether a start that waited is to be made now; tells recovery so."""
        due_s = self._recovery.due_s
        return due_s is not None and now_s >= due_s and self.on(Event.DUE, now_s)

    def state(self, ready: bool, processes: Iterable[TaskProcess]) -> RunnerState:
        """Return a snapshot for heartbeat, status and log."""
        pids = [process.pid for process in processes]
        return RunnerState(
            recovery=self._recovery.label(),
            ready=ready,
            consecutive_fails=self._recovery.consecutive_fails(self._clock.monotonic()),
            total_restarts=self._recovery.total_restarts,
            pids=tuple(pid for pid in pids if pid is not None),
        )

    def _is_start(self, decision: Decision) -> bool:
        match decision:
            case Wait(due_s, delay_s, restart):
                self._log.info("process.restart_scheduled", delay_s=delay_s, restart=restart)
                # Without it nothing would wake the runner: there is no process that could.
                self.alarm.at(due_s)
            case GiveUp():
                # An error, unlike a single crash: from here on only an operator can help.
                self._log.error(
                    "process.degraded",
                    consecutive_fails=self._recovery.consecutive_fails(self._clock.monotonic()),
                    consequence="not started again until SIGHUP brings mended code, or a restart",
                )
        return isinstance(decision, Start)
