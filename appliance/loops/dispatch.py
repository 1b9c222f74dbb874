"""The slots of one parent queue: takes tasks, hands them to the runner, settles what came of them.

One greenlet owns all of it and does one thing at a time (:meth:`Dispatcher.tick`), so that there
are no races to think about: outcomes and arrivals only enter through two queues and a wake event.
Finished tasks are settled and the next ones taken in one round trip. Where a queue is empty a
:class:`~appliance.loops.watch.Watch` waits for its next task; nothing is polled.

While tasks are very short (:mod:`~appliance.loops.pace`) a few are taken before a slot is free. They
wait here, leased but not started, and go back uncharged as soon as there is any doubt.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog
from gevent.event import Event

from appliance.clock import Clock
from appliance.errors import ProcessNotReady, QueueError, QueueNodeUnavailable, QueueRejected
from appliance.loops.intake import Intake, Source
from appliance.loops.order import Order
from appliance.loops.outage import Outages
from appliance.loops.pace import HOLD_S, Pace
from appliance.loops.reconciler import Reconciler
from appliance.loops.unsettled import Backlog, Unsettled
from appliance.observe.pulse import Pulse
from appliance.observe.report import TaskReport
from appliance.observe.tally import Tally
from appliance.process.work import Cancelled, Died, Expired, Failed, Outcome, Request, Returned, Runner
from appliance.queue.broker import Ask, Broker, Exchange, Taken
from appliance.queue.message import Lease, Task
from appliance.queue.settlement import Defer, Policy, Settlement

log = structlog.get_logger()

#: Longest time in seconds that an outcome waits for others to travel with.
POSTPONE_S = 0.001
#: First and longest delay after Redis failed, in seconds; jittered.
TROUBLE_DELAYS_S = (0.05, 5.0)


#: Degraded (policy requeue): seconds between tasks taken only to be put off, and for how long. So seldom
#: that healthy workers beside us get practically all of them, the ones put off included.
DEGRADED_TAKE_EVERY_S = 5.0
DEGRADED_DEFER_S = 1.0
#: What such a task's ``error_msg`` says.
DEGRADED_REASON = "worker degraded: its task process keeps crashing; the task waits for another worker"


@dataclass(slots=True)
class _Run:
    """A task of ours; ``since_s`` is when it was taken, and once started, when that was."""

    task: Task
    request: Request
    since_s: float


#: How long the second of two tasks that share an id waits, in seconds.
SAME_ID_DEFER_S = 1.0
_FAILURES: dict[type, str] = {
    Failed: "failed",
    Died: "crashed",
    Expired: "timed_out",
    Cancelled: "cancelled",
}
#: Most tasks that a list in a snapshot for people names.
MOST_DESCRIBED = 100
#: Failed exchanges with Redis in a row after which the worker does not count as healthy.
UNHEALTHY_AFTER = 3


class Dispatcher:
    """See the module. ``order`` says which of the ``sources`` is served next."""

    def __init__(
        self,
        sources: Sequence[Source],
        order: Order,
        broker: Broker,
        runner: Runner,
        policy: Policy,
        *,
        concurrency: int,
        lease_s: float,
        clock: Clock,
        rng: random.Random,
        wake: Event,
        requeue_degraded: bool = True,
    ) -> None:
        self._sources = Intake(sources, order)
        self._broker = broker
        self._runner = runner
        self._policy = policy
        self._concurrency = concurrency
        self._lease_s = lease_s
        self._clock = clock
        self._rng = rng
        self._wake = wake
        # Bound here: looking the logger up anew costs more than anything else that a task causes in here.
        self._log = log.bind()
        self._pace = Pace(concurrency)
        self._in_flight: dict[str, _Run] = {}
        self._ahead: dict[str, _Run] = {}
        self._finished: deque[tuple[Request, Outcome]] = deque()
        self._postponing = False
        self._requeue_degraded = requeue_degraded
        self._degraded_take_at_s = 0.0
        self._intake = True
        self._quiet = False
        self._ended = False
        self._troubles = 0
        self._retry_at_s = 0.0
        self._outages = Outages(rng)
        self._reconciler = Reconciler(broker, self.held, lease_s)
        #: What became of tasks, by sub-queue.
        self.tallies = {source.queue: Tally() for source in sources}
        self._unsettled = Unsettled(policy, self.tallies, clock)

    # What others may ask -------------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed (the process became ready, say): look again."""
        self._wake.set()

    @property
    def in_flight(self) -> int:
        """How many tasks the process has."""
        return len(self._in_flight)

    @property
    def backlog(self) -> Backlog:
        """Outcomes Redis has not accepted yet."""
        return self._unsettled.backlog(len(self._finished))

    def outcomes(self) -> list[Settlement]:
        """The same, as they are to be settled.

        The caller may be anybody, also while an exchange waits for a Redis that hangs.
        """
        self._collect()
        return list(self._unsettled)

    @property
    def in_trouble(self) -> bool:
        """Whether Redis, or a node of it, has not done what it was asked for a while."""
        return max(self._troubles, self._outages.most_failures) >= UNHEALTHY_AFTER

    def held(self) -> list[Lease]:
        """Leases to prolong: tasks in the process, and outcomes Redis has not accepted yet."""
        runs = (*self._in_flight.values(), *self._ahead.values())
        return [run.task.lease for run in runs] + [s.lease for s in self._unsettled]

    def cancel(self, task_id: str, reason: str) -> None:
        """End a task of ours, be it in the process or waiting for it; others are nothing to us."""
        waiting = self._ahead.pop(task_id, None)
        if waiting is None:
            self._runner.cancel(task_id, reason)
            return
        self._unsettled.add_outcome(waiting.task, Cancelled(reason))
        self._wake.set()

    @property
    def slots(self) -> int:
        """How many tasks the process may have."""
        return self._concurrency

    @property
    def fetched_ahead(self) -> int:
        """How many tasks were taken that wait for a slot."""
        return len(self._ahead)

    def running(self) -> tuple[TaskReport, ...]:
        """The tasks in the process, the first :data:`MOST_DESCRIBED` of them."""
        now_s = self._clock.monotonic()
        return tuple(
            TaskReport(key, run.request.queue, run.request.type, run.request.retry_count, now_s - run.since_s)
            for key, run in islice(self._in_flight.items(), MOST_DESCRIBED)
        )

    def describe(self) -> dict[str, Any]:
        """A snapshot for people: what is held, how long, and what is believed of the queues."""
        now_s = self._clock.monotonic()
        return {
            "intake": "quiet" if self._quiet else "open" if self._intake else "closed",
            "running": _describe_runs(self._in_flight, now_s),
            "fetched_ahead": _describe_runs(self._ahead, now_s),
            "unsettled": [
                {"task_id": s.lease.task_id, "queue": s.lease.queue, "outcome": type(s).__name__}
                for s in islice(self._unsettled, MOST_DESCRIBED)
            ],
            "counts": {queue: dict(tally.outcomes) for queue, tally in self.tallies.items()},
            "redis_failures": self._troubles,
            "queues": [source.describe() for source in self._sources.sources],
        }

    def quiet(self, *, on: bool) -> None:
        """Take nothing for the time being, or take again; what runs is not touched."""
        self._quiet = on
        self._sources.doubt()
        self._wake.set()

    def close_intake(self) -> None:
        """Take nothing from now on."""
        self._intake = False
        self._wake.set()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no task is in the process; False when that takes longer."""
        return self._wait(lambda: not self._in_flight, timeout_s)

    def finish(self, timeout_s: float) -> bool:
        """Settle what there is and end; False when Redis did not accept everything in time."""
        self.close_intake()
        settled = self._wait(self._empty_handed, timeout_s)
        if not settled:
            self._log.error(
                "dispatch.unsettled",
                tasks=[lease.task_id for lease in self.held()],
                consequence="kept in the state folder if there is one, else their leases run out",
            )
        self._ended = True
        self._wake.set()
        self._sources.end()
        return settled

    # The loop ------------------------------------------------------------------------------------

    def run(self, pulse: Pulse) -> None:
        """Tick until :meth:`finish`."""
        try:
            while not self._ended:
                pulse.begin()
                self._wake.clear()
                delay_s = self.tick()
                pulse.rest(delay_s)
                if delay_s != 0:
                    self._wake.wait(delay_s)
        finally:
            pulse.end()

    def tick(self) -> float | None:
        """Do what can be done now. Returns seconds until there may be more to do; None: when woken."""
        self._postponing = False
        self._collect()
        now_s = self._clock.monotonic()
        if now_s < self._retry_at_s:
            return self._retry_at_s - now_s
        try:
            return self._exchange(now_s)
        except QueueError as exc:
            return self._trouble(exc)

    def _exchange(self, now_s: float) -> float | None:
        self._reconciler.tick(now_s, self._outages.away(now_s), self._lose)
        self._doubt_ahead(now_s)
        self._fill()
        postpone_s = self._postpone_s(now_s)
        if postpone_s > 0:
            self._postponing = True
            return postpone_s
        room = self._room()
        self._sources.let_go(room, now_s, is_open=self._open(), reclaim=self._reclaim)
        away = self._outages.away(now_s)
        puts_off = self._puts_off(now_s)
        asks = self._sources.asks(1 if puts_off else room, now_s, away)
        if puts_off and not asks:
            # Nothing is watched while degraded: what was found empty may have tasks by the next look.
            self._sources.doubt()
        settlements = self._unsettled.sendable(away)
        if settlements or asks:
            answer = self._broker.exchange(settlements, asks)
            asked_s, now_s = now_s, self._clock.monotonic()
            self._pace.exchanged(now_s - asked_s)
            self._take_in(settlements, asks, answer, now_s)
        if self._troubles:
            self._log.info("dispatch.redis_back", failures=self._troubles)
            self._troubles = 0
            self._unsettled.trust()
        room, away = self._room(), self._outages.away(now_s)
        if self._unsettled.any_sendable(away) or self._finished or self._sources.asks(room, now_s, away):
            return 0
        if self._open():
            self._sources.arm()
        return self._next_look_s(room, now_s)

    def _take_in(
        self, settlements: Sequence[Settlement], asks: Sequence[Ask], answer: Exchange, now_s: float
    ) -> None:
        """What an exchange brought; raises its failure where that is more than one queue's to bear."""
        open_ = self._unsettled.answered(settlements, answer.verdicts, now_s, all_sent=not self._outages.any)
        for ask, taken in zip(asks, answer.taken, strict=True):
            if taken is not None:
                self._accept(ask, taken, now_s)
            elif isinstance(answer.failure, QueueRejected) and ask.queue not in answer.away:
                self._sources.refuse(ask, answer.failure, now_s)
        self._fill()
        if answer.away or self._outages.any:
            self._mind_outages(settlements, asks, answer)
            open_ = [settlement for settlement in open_ if settlement.lease.queue not in answer.away]
        if answer.failure and (open_ or not isinstance(answer.failure, QueueRejected)):
            raise answer.failure

    def _collect(self) -> None:
        while self._finished:
            request, outcome = self._finished.popleft()
            run = self._in_flight.pop(request.task_id)
            self._unsettled.add_outcome(run.task, outcome)

    # Intake --------------------------------------------------------------------------------------

    def _open(self) -> bool:
        return self._intake and not self._quiet and self._runner.ready

    def _room(self) -> int:
        if not self._open():
            return 0
        return max(0, self._slots() + self._pace.ahead - len(self._ahead))

    def _slots(self) -> int:
        return self._concurrency - len(self._in_flight) + len(self._finished)

    def _degraded(self) -> bool:
        return (
            self._intake
            and not self._quiet
            and self._requeue_degraded
            and not self._runner.ready
            and self._runner.state().recovery == "degraded"
        )

    def _puts_off(self, now_s: float) -> bool:
        """Whether to take one task now although nothing here can run it."""
        if not self._degraded() or now_s < self._degraded_take_at_s:
            return False
        self._degraded_take_at_s = now_s + DEGRADED_TAKE_EVERY_S
        return True

    def _accept(self, ask: Ask, taken: Taken, now_s: float) -> None:
        self._sources.learn(ask, taken, now_s)
        if taken.strays:
            self._log.warning("queue.strays_dropped", queue=ask.queue, ids=taken.strays)
        for lease, reason in taken.broken:
            self._log.error("task.undecodable", task_id=lease.task_id, queue=lease.queue, reason=reason)
            self._unsettled.add(self._policy.refuse(lease, reason))
        for task in taken.tasks:
            self._admit(task, taken.now_wall_s, now_s)

    def _admit(self, task: Task, now_wall_s: float, now_s: float) -> None:
        if task.pending_since_wall_s is not None:
            self.tallies[task.lease.queue].waits.observe(now_wall_s - task.pending_since_wall_s)
        if self._degraded():
            self._unsettled.add(Defer(task.lease, DEGRADED_DEFER_S, DEGRADED_REASON))
            self._log.info("task.put_off", task_id=task.lease.task_id, queue=task.lease.queue)
            return
        overdue = self._policy.overdue(task, now_wall_s)
        if overdue:
            self._unsettled.add_outcome(task, Cancelled(overdue))
            return
        if task.deadline_wall_s is not None and task.deadline_wall_s <= now_wall_s:
            self._unsettled.add_outcome(task, Expired("deadline: it had passed before the run"))
            return
        ours = self._in_flight.get(task.lease.task_id) or self._ahead.get(task.lease.task_id)
        if ours is not None and ours.request.queue != task.lease.queue:
            # Answers carry nothing but the id: of two tasks that share one, the second waits.
            self._unsettled.add(Defer(task.lease, SAME_ID_DEFER_S, "a task of the same id is running"))
            self._log.warning("task.same_id", task_id=task.lease.task_id, queue=task.lease.queue)
            return
        if ours is not None:
            # Our lease ran out, somebody put the task back, and it came to us again while we are
            # still at it: the run under way serves the new attempt.
            self._log.warning("task.adopted", task_id=task.lease.task_id, attempt=task.lease.attempt)
            ours.task = task
            return
        deadline_s = None
        if task.deadline_wall_s is not None:
            deadline_s = now_s + task.deadline_wall_s - now_wall_s
        request = Request(
            task_id=task.lease.task_id,
            queue=task.lease.queue,
            type=task.type,
            payload=task.payload,
            retry_count=task.retried,
            max_retry=self._policy.max_retry(task),
            run_limit_s=self._policy.run_limit_s(task),
            deadline_monotonic_s=deadline_s,
        )
        self._ahead[request.task_id] = _Run(task, request, now_s)

    def _fill(self) -> None:
        """Start what waits while there are slots; the caller may be anybody, since nothing here waits."""
        while self._ahead and self._slots() > 0 and self._open():
            key = next(iter(self._ahead))
            run = self._in_flight[key] = self._ahead.pop(key)
            run.since_s = self._clock.monotonic()
            try:
                self._runner.submit(run.request, self._deliver)
            except ProcessNotReady as exc:
                self._finished.append((run.request, Returned(str(exc))))

    def _deliver(self, request: Request, outcome: Outcome) -> None:
        run_s = self._clock.monotonic() - self._in_flight[request.task_id].since_s
        self._pace.ran(run_s)
        tally = self.tallies[request.queue]
        tally.runs.observe(run_s)
        if failure := _FAILURES.get(type(outcome)):
            tally.failures[failure] += 1
        self._finished.append((request, outcome))
        # The next one need not wait for an exchange that is under way.
        self._fill()
        if not self._postponing or len(self._ahead) <= self._pace.ahead // 2:
            self._wake.set()

    def _postpone_s(self, now_s: float) -> float:
        """How long the next exchange can wait for more to settle: briefly, and while there is work."""
        busy = self._in_flight and self._open() and len(self._ahead) > self._pace.ahead // 2
        return self._unsettled.since_s + POSTPONE_S - now_s if busy and self._unsettled else 0.0

    def _doubt_ahead(self, now_s: float) -> None:
        """Give back what waits although nothing here is about to run it."""
        late = [key for key, run in self._ahead.items() if not self._open() or now_s - run.since_s > HOLD_S]
        for key in late:
            task = self._ahead.pop(key).task
            self._unsettled.add_outcome(task, Returned("fetched ahead, and no slot came free"))
        if late:
            self._pace.ran(HOLD_S)

    def _next_look_s(self, room: int, now_s: float) -> float | None:
        away = self._outages.away(now_s)
        looks = self._reconciler.next_s(now_s, away)
        if away and (next_try_s := self._outages.next_try_s(now_s)) is not None:
            looks.append(next_try_s)
        if self._ahead:
            looks.append(min(run.since_s for run in self._ahead.values()) + HOLD_S - now_s)
        if self._degraded():
            looks.append(self._degraded_take_at_s - now_s)
        look_s = self._sources.next_look_s(room, now_s)
        if look_s is not None:
            looks.append(look_s)
        return max(0.001, min(looks)) if looks else None

    # Trouble -------------------------------------------------------------------------------------

    def _trouble(self, exc: QueueError) -> float:
        first_s, longest_s = TROUBLE_DELAYS_S
        delay_s: float = min(first_s * 2 ** min(self._troubles, 20), longest_s) * self._rng.uniform(0.5, 1.0)
        if not self._troubles:
            self._log.warning("dispatch.redis_trouble", error=str(exc), unsettled=len(self._unsettled))
        self._troubles += 1
        self._unsettled.doubt(keeps_results=self._broker.keeps_results)
        now_s = self._clock.monotonic()
        self._retry_at_s = now_s + delay_s
        # A take may have been carried out without our hearing of it: look at once when Redis is
        # back, and again later for a request that was still on its way then.
        for source in self._sources.sources:
            self._reconciler.later(source.queue, now_s)
        self._sources.doubt()
        return delay_s

    def _lose(self, queue: str, why: QueueNodeUnavailable) -> None:
        """The queue's node is away; what :meth:`_trouble` is for all of Redis."""
        now_s = self._clock.monotonic()
        self._outages.begin(queue, why, now_s)
        self._reconciler.later(queue, now_s)
        self._sources.doubt(queue)

    def _mind_outages(self, settlements: Sequence[Settlement], asks: Sequence[Ask], answer: Exchange) -> None:
        tried = {ask.queue for ask in asks} | {settlement.lease.queue for settlement in settlements}
        for queue in tried - answer.away.keys():
            self._outages.end(queue)
        for queue, why in answer.away.items():
            self._lose(queue, why)

    def _reclaim(self, queue: str, ids: tuple[bytes, ...]) -> None:
        try:
            self._broker.reclaim(queue, ids)
        except QueueNodeUnavailable as exc:
            # They have no lease: upkeep, be it another worker's, returns them when the node is back.
            self._lose(queue, exc)

    # Ending --------------------------------------------------------------------------------------

    def _empty_handed(self) -> bool:
        return not (
            self._sources.watching or self._in_flight or self._ahead or self._finished or self._unsettled
        )

    def _wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        deadline_s = self._clock.monotonic() + timeout_s
        while not done():
            if self._clock.monotonic() >= deadline_s:
                return False
            self._clock.sleep(0.01)
        return True


def _describe_runs(runs: dict[str, _Run], now_s: float) -> list[dict[str, Any]]:
    return [
        {
            "task_id": run.request.task_id,
            "queue": run.request.queue,
            "attempt": run.task.lease.attempt,
            "age_s": round(now_s - run.since_s, 3),
        }
        for run in islice(runs.values(), MOST_DESCRIBED)
    ]
