"""The runner of ``long_running`` code: one process for all tasks, restarted as recovery says.

- Several tasks may be in flight; the process answers in any order. How many is the dispatcher's choice.
- A crash ends every task in flight as :class:`~appliance.process.work.Died`.
- A task's limit or cancellation replaces the process: a planned end, so no crash and no delay. What the
  others in flight were not answered comes back uncharged. That the replacement gets ready is not
  taken for granted: if it does not, that counts.
- The next process starts only when the one before is gone, descendants included. The exception is
  recycling: a process that has grown old works on until its successor is ready, hands over, and ends when it
  has answered what it has. Where memory has no room for two, it stops taking tasks instead and is
  replaced as above. Neither is a crash.
- Other code takes over in the same way (:meth:`LongRunning.succeed`), and from a process that is down as
  well. One that does not get ready changes nothing; where memory has no room for two it is not started.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from appliance.clock import Clock
from appliance.config.settings import ProcessSettings, RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process import recycling
from appliance.process.alarm import Alarm
from appliance.process.child import Child
from appliance.process.lifecycle import Stage
from appliance.process.recovery import Decision, GiveUp, Recovery, Signal, Start, Wait
from appliance.process.supervisor import ASK_S, Hooks, MakeChild, ProcessSpec, Supervised
from appliance.process.work import Deliver, Request, RunnerState

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Heir:
    """Other code that is about to take over, and whom to tell what came of it."""

    spec: ProcessSpec
    done: Callable[[str | None], None]


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
        limits: ProcessSettings | None = None,
    ) -> None:
        self._parent = parent
        self._spec = spec
        self._recovery = Recovery(recovery)
        self._clock = clock
        self._hooks = hooks
        self._make_child = make_child
        self._process: Supervised | None = None
        self._age = recycling.Age(limits or ProcessSettings())
        self._successor: Supervised | None = None
        self._heir: _Heir | None = None
        self._leaving: list[Supervised] = []  # replaced: they finish what they have
        self._closing = False  # too old and no room for a successor: finish, then be replaced
        self._alarm = Alarm(clock, self.tick)

    def start(self) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        self._act(self._recovery.on(Signal.START, self._clock.monotonic()))
        self._alarm.start()

    def stop(self, grace_s: float) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        self._recovery.on(Signal.STOP, self._clock.monotonic())
        self._alarm.stop()
        processes = self._processes()
        for process in processes:
            process.stop(grace_s)
        for process in processes:
            process.wait()
        self._hooks.on_change()

    @property
    def ready(self) -> bool:
        """See :class:`~appliance.process.work.Runner`."""
        return self._process is not None and self._process.stage is Stage.READY and not self._closing

    def submit(self, request: Request, deliver: Deliver) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        if self._process is None or not self.ready:
            raise ProcessNotReady(
                f"the task process of {self._parent} is {self._recovery.phase.name.lower()}"
            )
        self._process.submit(request, deliver)
        self._alarm.at(self._process.due_s())

    def succeed(self, spec: ProcessSpec, done: Callable[[str | None], None]) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        held_bytes = recycling.memory_bytes(self._process.pid or 0) if self._process else 0
        free_bytes = recycling.free_bytes()
        if free_bytes <= held_bytes:
            held, free = held_bytes / 2**20, free_bytes / 2**20
            done(
                f"no memory for two processes: the one at work holds {held:.0f} MiB, {free:.0f} MiB are free"
            )
            return
        if self._successor is not None:
            self._leaving.append(self._successor)
            self._drop_successor()
        self._heir = _Heir(spec, done)
        self._successor = self._spawn(spec)

    def folders(self) -> set[Path]:
        """See :class:`~appliance.process.work.Runner`."""
        return {self._spec.cwd, *(process.cwd for process in self._processes())}

    def cancel(self, task_id: str, reason: str) -> None:
        """See :class:`~appliance.process.work.Runner`."""
        for process in self._processes():
            process.cancel(task_id, reason)

    def state(self) -> RunnerState:
        """See :class:`~appliance.process.work.Runner`."""
        pids = [process.pid for process in self._processes()]
        return RunnerState(
            recovery=self._recovery.label(),
            ready=self.ready,
            consecutive_fails=self._recovery.consecutive_fails(self._clock.monotonic()),
            total_restarts=self._recovery.total_restarts,
            pids=tuple(pid for pid in pids if pid is not None),
        )

    def tick(self) -> float | None:
        """Do what is due; returns when the next thing is (monotonic seconds), None for nothing."""
        now_s = self._clock.monotonic()
        if self._recovery.due_s is not None and now_s >= self._recovery.due_s:
            self._act(self._recovery.on(Signal.DUE, now_s))
        for process in self._processes():
            process.tick(now_s)
        dues = [self._recovery.due_s, *(process.due_s() for process in self._processes())]
        if self._age.watches_memory and self._process is not None:
            self._mind_age(now_s, recycling.memory_bytes(self._process.pid or 0))
            dues.append(now_s + recycling.LOOK_S)
        return min((due for due in dues if due is not None), default=None)

    # What the process tells ----------------------------------------------------------------------

    def process_ready(self, process: Supervised, /) -> None:
        """See :class:`~appliance.process.supervisor.Owner`."""
        if process is self._successor:
            self._hand_over()
        else:
            self._recovery.on(Signal.READY, self._clock.monotonic())
        self._hooks.on_change()

    def process_leaving(self, process: Supervised, /) -> None:
        """See :class:`~appliance.process.supervisor.Owner`."""
        if process is self._process:
            self._recovery.on(Signal.REPLACE, self._clock.monotonic())
            self._drop_recycled()
        self._hooks.on_change()

    def process_answered(self, process: Supervised, /) -> None:
        """The task behind it is the oldest now: its run limit has begun."""
        self._alarm.at(process.due_s())
        if process in self._leaving:
            self._end_if_idle(process)
        elif process is self._process:
            self._age.answered()
            self._mind_age(self._clock.monotonic())

    def process_ended(self, process: Supervised, /) -> None:
        """See :class:`~appliance.process.supervisor.Owner`."""
        if process in self._leaving:
            self._leaving.remove(process)
            self._hooks.on_change()
            return
        if process is self._successor:
            self._successor_ended(process)
            return
        self._process = None
        self._closing = False
        self._age.renewed()
        self._drop_recycled()
        signal = Signal.ENDED if process.stage is Stage.LEFT else Signal.FAILED
        # The delay counts from the exit; what was left to read since then is not added to it.
        ended_s = process.ended.at_monotonic_s if process.ended else self._clock.monotonic()
        self._act(self._recovery.on(signal, ended_s))
        self._hooks.on_change()

    # Recycling -----------------------------------------------------------------------------------

    def _mind_age(self, now_s: float, memory_bytes: int = 0) -> None:
        process = self._process
        if process is None:
            return
        if self._closing:
            self._replace_if_idle(process)
            return
        if self._successor or self._leaving or process.stage is not Stage.READY:
            return
        why = self._age.too_old(now_s, memory_bytes)
        if why is None:
            return
        memory_bytes = memory_bytes or recycling.memory_bytes(process.pid or 0)
        overlap = recycling.free_bytes() > memory_bytes
        log.info("child.recycling", queue=self._parent, pid=process.pid, reason=why, overlap=overlap)
        if overlap:
            self._successor = self._spawn(self._spec)
        else:
            self._closing = True
            self._hooks.on_change()
            self._replace_if_idle(process)

    def _hand_over(self) -> None:
        old, self._process, self._successor = self._process, self._successor, None
        self._age.renewed()
        if self._heir is not None:
            heir, self._heir = self._heir, None
            self._spec, self._closing = heir.spec, False
            now_s = self._clock.monotonic()
            self._recovery.on(Signal.RENEWED, now_s)
            self._recovery.on(Signal.READY, now_s)
            heir.done(None)
        if old is None:
            return
        self._leaving.append(old)
        if old.stage is Stage.READY:
            self._end_if_idle(old)
        else:
            old.stop(self._spec.stop_grace_s)

    def _successor_ended(self, process: Supervised) -> None:
        self._successor = None
        if self._heir is None:
            self._age.postpone(self._clock.monotonic())
            return
        heir, self._heir = self._heir, None
        heir.done(f"its process did not get ready: {process.ended.text if process.ended else 'it ended'}")
        self._hooks.on_change()

    def _end_if_idle(self, process: Supervised) -> None:
        if process.idle and process.stage is Stage.READY:
            process.dismiss("it was recycled", ask_s=ASK_S, grace_s=self._spec.stop_grace_s)

    def _replace_if_idle(self, process: Supervised) -> None:
        if process.idle and process.stage is Stage.READY:
            self._recovery.on(Signal.REPLACE, self._clock.monotonic())
            self._end_if_idle(process)

    def _drop_recycled(self) -> None:
        """A fresh process comes anyway; one of other code still has to show that it works."""
        if self._heir is None:
            self._drop_successor()

    def _drop_successor(self) -> None:
        if self._successor is not None:
            self._successor.stop(self._spec.stop_grace_s)

    def _processes(self) -> list[Supervised]:
        return [one for one in (self._process, self._successor, *self._leaving) if one is not None]

    def _spawn(self, spec: ProcessSpec) -> Supervised:
        process = Supervised(self._parent, spec, self._clock, self._hooks, self, self._make_child)
        process.start()
        self._alarm.at(process.due_s())
        return process

    def _act(self, decision: Decision) -> None:
        match decision:
            case Start():
                self._process = self._spawn(self._spec)
            case Wait(due_s, delay_s, restart):
                log.info("child.restart_scheduled", queue=self._parent, delay_s=delay_s, restart=restart)
                self._alarm.at(due_s)
            case GiveUp():
                fails = self._recovery.consecutive_fails(self._clock.monotonic())
                log.error(
                    "child.degraded",
                    queue=self._parent,
                    consecutive_fails=fails,
                    consequence="not started again; restart the worker to try again",
                )
