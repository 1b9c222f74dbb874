"""The slots of one parent queue: what is in the process, what is fetched ahead, what has finished.

A finished task frees its slot at once, and stays counted as in the process until the dispatcher collects
its outcome: until then nothing else knows of its lease.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping

from appliance.clock import Clock, wait_until
from appliance.dispatch.gate import Gate
from appliance.dispatch.pace import Pace
from appliance.dispatch.prefetch import Prefetch
from appliance.dispatch.run import Run, report
from appliance.dispatch.suspects import Suspects
from appliance.errors import ProcessNotReady
from appliance.event import Event
from appliance.observe.tally import Tally
from appliance.process.outcome import Cancelled, Crashed, Failed, Outcome, Returned, TimedOut
from appliance.process.runner import Request, Runner
from appliance.queue.message import Lease, Task
from appliance.snapshot import TaskSnapshot

#: How a run that went wrong is counted.
_FAILURES: dict[type, str] = {
    Failed: "failed",
    Crashed: "crashed",
    TimedOut: "timed_out",
    Cancelled: "cancelled",
}


class Slots:
    """See the module. ``wake`` is set whenever the dispatcher should look."""

    def __init__(
        self,
        total: int,
        runner: Runner,
        gate: Gate,
        tallies: Mapping[str, Tally],
        clock: Clock,
        wake: Event,
        *,
        shared_process: bool = True,
    ) -> None:
        self.total = total
        self.ahead = Prefetch(Pace(), Suspects(alone=shared_process))
        #: Whether the dispatcher waits a moment for more outcomes to travel with.
        self.postponing = False
        self._runner = runner
        self._gate = gate
        self._tallies = tallies
        self._clock = clock
        self._wake = wake
        self._in_process: dict[str, Run] = {}
        self._ends_in_s: list[float] = []
        self._filling = False
        self._finished: deque[tuple[Request, Outcome, float | None]] = deque()

    # What is where -------------------------------------------------------------------------------

    @property
    def in_use(self) -> int:
        """How many tasks the process has."""
        return len(self._in_process)

    @property
    def fetched_ahead(self) -> int:
        """How many tasks wait for a slot."""
        return len(self.ahead.all())

    @property
    def finished(self) -> int:
        """How many outcomes wait to be collected."""
        return len(self._finished)

    @property
    def free(self) -> int:
        """How many tasks the process could be given."""
        return self.total - len(self._in_process) + len(self._finished)

    def room(self, now_s: float, *, travels: bool = False) -> int:
        """How many tasks to take: for the free slots, and to be ahead.

        ``travels`` where there is an exchange anyway, which more tasks may come with.
        """
        self._ends_in_s = []
        if not self._gate.open or self.ahead.suspects.any:
            return 0
        free, pace = self.free, self.ahead.pace
        runs = [(now_s - run.since_s, run.at_least_s) for run in self._in_process.values() if not run.over]
        # What is taken for a free slot begins when it has come.
        runs += [(-pace.round_trip_s, 0.0)] * free
        self._ends_in_s = pace.ends_in_s(runs)
        return free + self.ahead.room(self._ends_in_s, at_once=travels or free > 0)

    def next_look_s(self, now_s: float) -> float | None:
        """Seconds from the last :meth:`room` until a task is to be fetched ahead, or from now until one goes
        back; None where nothing is to come."""
        due_in_s = self.ahead.due_in_s(self._ends_in_s)
        # What is due and was not fetched was not there; the watch tells when it is.
        fetch_s = due_in_s if 0 < due_in_s < math.inf else None
        back_s = self.ahead.next_look_s(now_s)
        return min((at_s for at_s in (fetch_s, back_s) if at_s is not None), default=None)

    @property
    def busy(self) -> bool:
        """Whether there is work for a while, with nothing to be fetched for it."""
        return bool(self._in_process) and self._gate.open and not self.ahead.low

    @property
    def empty(self) -> bool:
        """Whether no task is here."""
        return not (self._in_process or self.ahead.all())

    def find(self, task_id: str) -> Run | None:
        """The task of that id that is here."""
        return self._in_process.get(task_id) or self.ahead.find(task_id)

    def leases(self) -> list[Lease]:
        """Those of all tasks here."""
        return [run.task.lease for run in (*self._in_process.values(), *self.ahead.all())]

    def in_process(self) -> tuple[Run, ...]:
        """The tasks in the process, the longest-running first."""
        return tuple(self._in_process.values())

    def report(self) -> tuple[TaskSnapshot, ...]:
        """The tasks in the process, the first of them."""
        return report(self._in_process.values(), self._clock.monotonic())

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no task is in the process; False when that takes longer."""
        return wait_until(lambda: not self._in_process, timeout_s, self._clock)

    # A task's way --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Start what waits while there are slots.

        Nothing in here waits, so that any greenlet may call it, also while the dispatcher is in an exchange.
        """
        if self._filling:
            return  # from within, where an answer came before submitting returned
        self._filling = True
        try:
            while self._gate.open and (
                run := self.ahead.take_next(free=self.free > 0, idle=self.free == self.total)
            ):
                self._start(run)
        finally:
            self._filling = False

    def _start(self, run: Run) -> None:
        # Before it is submitted: the answer may come before that returns.
        self._in_process[run.request.task_id] = run
        run.since_s = self._clock.monotonic()
        try:
            self._runner.submit(run.request, self._deliver)
        except ProcessNotReady as exc:
            self.ahead.suspects.ended(run.request.task_id)
            run.over = True
            self._finished.append((run.request, Returned(str(exc)), None))

    def _deliver(self, request: Request, outcome: Outcome) -> None:
        run = self._in_process[request.task_id]
        run.over = True
        run_s = self._clock.monotonic() - run.since_s
        self.ahead.pace.ran(run_s)
        tally = self._tallies[request.queue]
        tally.runs.observe(run_s)
        if failure := _FAILURES.get(type(outcome)):
            tally.failures[failure] += 1
        if tally.trace:
            tally.trace.ran(run.task, outcome, run_s)
        self.ahead.suspects.ended(request.task_id)
        self._finished.append((request, outcome, run_s))
        # Here and not in the next tick, so that the next task need not wait for an exchange under way.
        self.fill()
        if not self.postponing or self.ahead.low:
            self._wake.set()

    def collect(self, settle: Callable[[Task, Outcome, float | None], None]) -> None:
        """Hand the outcomes there are to ``settle``, in their order, and how long each ran."""
        while self._finished:
            request, outcome, run_s = self._finished.popleft()
            settle(self._in_process.pop(request.task_id).task, outcome, run_s)

    def take_late(self, now_s: float) -> list[Run]:
        """Take out what waits and is to go back: the runs before it prove longer than expected."""
        late = self.ahead.take_late(now_s, is_open=self._gate.open)
        if late:
            for run in self._in_process.values():
                # Nothing is fetched again for the lengths that it has just outlived.
                run.at_least_s = now_s - run.since_s + self.ahead.hold_s
        return late

    def limit(self, run: Run, task: Task, run_limit_s: float | None) -> None:
        """The task of a run in the process is another by now in what its stamps say: so long may it run."""
        run.task = task
        self._runner.limit(task.lease.task_id, run_limit_s)

    def cancel(self, task_id: str, reason: str) -> Task | None:
        """End the task, if it is here; returns it where it only waited and nothing else will tell its end."""
        waiting = self.ahead.remove(task_id)
        if waiting is None:
            self._runner.cancel(task_id, reason)
            return None
        return waiting.task
