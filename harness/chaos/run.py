"""One run of chaos: a plan carried out, everything settled, the history judged."""

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from harness import wait
from harness.chaos import gather
from harness.chaos.plan import Plan
from harness.chaos.schedule import Schedule
from harness.chaos.sender import Sender
from harness.chaos.world import RunOptions, World
from harness.evidence import invariants
from harness.evidence.history import ENDS, History, Rules
from harness.evidence.invariants import Violation
from harness.evidence.starvation import Starvation
from harness.evidence.timeline import Timeline
from harness.failure import CommandFailed
from harness.queue import asynq

#: Seconds the first workers get to deploy and start; only then the plan's time begins.
START_S = 400.0
#: Seconds from the end of the faults until all tasks have to be sent.
SENT_S = 180.0
RULES = Rules(lease_s=2.0, drain_s=15.0)


@dataclass
class Outcome:
    """What a run came to."""

    plan: Plan
    history: History
    violations: Sequence[Violation]
    timeline: Timeline
    settled_s: float
    injected: Counter[str]
    restarts: int
    skipped: Sequence[str] = ()
    logs: Mapping[str, Path] = field(default_factory=dict)


def run(options: RunOptions) -> Outcome:
    """Carry it out; everything that was started is gone afterwards.

    Raises :class:`~harness.failure.CommandFailed` where the workers do not even start.
    """
    with ExitStack() as stack:
        return _Chaos(options, stack).run()


class _Chaos:
    """The parts of a run, and its steps in order."""

    def __init__(self, options: RunOptions, stack: ExitStack) -> None:
        self._options = options
        self._plan = options.plan
        self._timeline = Timeline()
        self._world = World(options, self._timeline, stack)
        self._places = self._world.places
        self._db = self._world.db
        self._sender = Sender(self._plan, self._world.client(stack))
        self._starvation = stack.enter_context(Starvation(RULES.lease_s))

    def run(self) -> Outcome:
        """Start, trouble, settle, end, judge."""
        self._start()
        schedule = self._trouble()
        settled_s = self._settle()
        self._options.progress("asking the workers to end")
        for place in self._places:
            place.ask_to_end()
        for place in self._places:
            place.close(RULES.drain_s)
        for place in self._places:
            place.settle_accounts()
        self._options.progress("judging what happened")
        history = gather.history(
            RULES,
            self._sender.sent,
            [*schedule.troubles, *self._starvation.troubles],
            self._places,
            self._db,
            self._options.folder / "redis",
            self._world.diary,
            self._world.secrets,
        )
        return Outcome(
            plan=self._plan,
            history=history,
            violations=invariants.check(history),
            timeline=self._timeline,
            settled_s=settled_s,
            injected=schedule.injected + Counter({"clock skewed": self._world.skewed}),
            restarts=sum(place.restarts for place in self._places),
            skipped=(*self._world.skipped, *schedule.skipped),
            logs={log.name: log.log_path for place in self._places for log in place.logs},
        )

    # The steps -----------------------------------------------------------------------------------

    def _start(self) -> None:
        self._options.progress(f"starting {self._plan.workers} workers")
        for place in self._places:
            place.tick()
        try:
            wait.until(self._over_or_running, START_S, "the workers to run", self._world.logs)
        except wait.TimedOut as exc:
            raise CommandFailed(str(exc)) from exc
        if any(place.worker is None for place in self._places):
            raise CommandFailed(f"a worker ended before anything was done to it\n{self._world.logs()}")

    def _over_or_running(self) -> bool:
        if any(place.worker is None for place in self._places):
            return True
        beats = [asynq.get_worker(self._db, worker_id) for worker_id in asynq.get_worker_ids(self._db)]
        return sum(beat.get("status") == "running" for beat in beats) == len(self._places)

    def _trouble(self) -> Schedule:
        schedule = Schedule(self._plan.faults, self._world.rig, self._timeline)
        self._sender.start()
        # Interrupted, before what the faults are in is taken down.
        with contextlib.closing(schedule):
            while schedule.elapsed_s < self._plan.duration_s or not schedule.quiet:
                schedule.tick()
                sent, faults = len(self._sender.sent), schedule.injected.total()
                self._tick(f"{schedule.elapsed_s:.0f} s: {sent} sent, {faults} faults")
        self._see_all_sent()
        return schedule

    def _see_all_sent(self) -> None:
        until_s = time.monotonic() + SENT_S
        while not self._sender.has_ended and time.monotonic() < until_s:
            self._tick(f"faults are over, {len(self._sender.sent)} sent")
        self._sender.stop()
        missing = len(self._plan.tasks) - len(self._sender.sent)
        if missing:
            raise CommandFailed(f"{missing} tasks could not be sent: Redis takes none, and no fault is left")

    def _settle(self) -> float:
        begun_s = time.monotonic()

        def settled() -> bool:
            left = self._unsettled()
            self._tick(f"faults are over, {left} tasks are not")
            return left == 0

        with contextlib.suppress(wait.TimedOut):  # the checker says which ones, and why that is wrong
            wait.until(settled, self._options.settle_s, "all tasks to settle")
        return time.monotonic() - begun_s

    def _unsettled(self) -> int:
        with self._db.pipeline(transaction=False) as pipe:
            for sent in self._sender.sent:
                pipe.hget(asynq.task_key(sent.queue, sent.task_id), "state")
            states = [(state or b"").decode() for state in pipe.execute()]
        return sum(state not in ENDS for state in states)

    def _tick(self, progress: str) -> None:
        for place in self._places:
            place.tick()
        self._starvation.watch(self._pids())
        self._options.progress(progress)
        time.sleep(0.025)

    def _pids(self) -> Mapping[str, int]:
        pids = {worker.name: worker.pid for place in self._places if (worker := place.worker)}
        redis = self._world.redis.pid
        return pids if redis is None else {**pids, "redis": redis}
