"""The dispatcher of one parent queue: takes tasks, hands them to the runner, settles their outcomes.

One greenlet owns all of it and does one thing at a time (:meth:`Dispatcher.tick`): collect what has
finished, reconcile after an outage, fill the slots, exchange with Redis, decide when to look next. Outcomes
and arrivals only enter through two queues and a wake event, so that there are no locks. Finished tasks are
settled and the next ones taken in one round trip. Where a queue is empty a
:class:`~appliance.dispatch.watch.Watch` waits for its next task; nothing is polled.
"""

import math
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
import structlog

from appliance.clock import Clock, wait_until
from appliance.dispatch import gate
from appliance.dispatch.admission import Admission
from appliance.dispatch.backoff import Backoff
from appliance.dispatch.gate import Gate
from appliance.dispatch.intake import Intake
from appliance.dispatch.outage import REDIS_DELAYS, Outages
from appliance.dispatch.reconciler import Reconciler
from appliance.dispatch.run import describe
from appliance.dispatch.slots import Slots
from appliance.dispatch.unsettled import Backlog, Unsettled
from appliance.errors import QueueError, QueueRejected
from appliance.event import Event
from appliance.observe.pulse import Pulse
from appliance.process.outcome import Cancelled
from appliance.process.runner import Runner
from appliance.queue.broker import Broker
from appliance.queue.message import Lease
from appliance.queue.replies import Ask, Exchange
from appliance.queue.settlement import Return, Settlement

log = structlog.get_logger()

#: Seconds that the last look after reverse lookups may take: a Redis that hangs must not hold up the end.
LAST_MEND_S = 1.0


# A tuple only for want of an import: this module has as many as one may have.
class DispatchSettings(NamedTuple):
    """The parent queue and its settings.

    ``requeue_degraded`` is ``RUNQY_DEGRADED_POLICY=requeue``, ``shared_process`` whether all tasks run in one
    process and end with it.
    """

    parent: str
    concurrency: int
    requeue_degraded: bool = True
    shared_process: bool = True


class Dispatcher:
    """See the module. ``wake`` is set by others whenever there may be something to do."""

    def __init__(
        self,
        intake: Intake,
        broker: Broker,
        runner: Runner,
        unsettled: Unsettled,
        settings: DispatchSettings,
        *,
        clock: Clock,
        rng: random.Random,
        wake: Event,
    ) -> None:
        redis = Backoff(REDIS_DELAYS, rng.uniform)
        #: What became of tasks, by queue.
        self.tallies = unsettled.tallies
        self._broker = broker
        self._clock = clock
        self._wake = wake
        self._ended = False
        self._intake = intake
        self._gate = Gate(runner, redis, requeue_degraded=settings.requeue_degraded)
        total, shared = settings.concurrency, settings.shared_process
        self.slots = Slots(total, runner, self._gate, self.tallies, clock, wake, shared_process=shared)
        self.slots.ahead.tiers = intake.tiers
        self._unsettled = unsettled
        self._admission = Admission(intake, self.slots, unsettled, unsettled.policy, self._gate, self.tallies)
        self._reconciler = Reconciler(broker, self.held, clock)
        self._outages = Outages(settings.parent, redis, intake, self._reconciler, rng.uniform, clock)

    # What others may ask and tell ----------------------------------------------------------------

    @property
    def backlog(self) -> Backlog:
        """Outcomes Redis has not accepted yet."""
        return self._unsettled.backlog(self.slots.finished)

    def outcomes(self) -> list[Settlement]:
        """The same, as they are to be settled; for any greenlet, also while an exchange hangs."""
        self._collect()
        return list(self._unsettled)

    @property
    def sending(self) -> bool:
        """Whether outcomes are being sent that may take a while, to a Redis that answers."""
        return self._unsettled.sending_large and not self.redis_failing

    @property
    def redis_failing(self) -> bool:
        """Whether Redis, or a node of it, has not done what it was asked for a while."""
        return self._outages.lasting

    def held(self) -> list[Lease]:
        """Leases to prolong: tasks that are here, and outcomes Redis has not accepted yet."""
        return self.slots.leases() + [settlement.lease for settlement in self._unsettled]

    def describe(self) -> dict[str, Any]:
        """A snapshot for people: what is held, for how long, and what is believed of the queues."""
        now_s = self._clock.monotonic()
        return {
            "intake": self._gate.state(now_s).value,
            "running": describe(self.slots.in_process(), now_s),
            "fetched_ahead": describe(self.slots.ahead.all(), now_s),
            "unsettled": self._unsettled.describe(),
            "counts": {queue: dict(tally.outcomes) for queue, tally in self.tallies.items()},
            "redis_failures": self._outages.redis.failures,
            "queues": [source.describe() for source in self._intake.sources],
        }

    def cancel(self, task_id: str, reason: str) -> None:
        """End the task if it is here, in the process or waiting for it; others are not this worker's."""
        if (waiting := self.slots.cancel(task_id, reason)) is not None:
            self._unsettled.add_outcome(waiting, Cancelled(reason))
            self._wake.set()

    def quiet(self, *, on: bool) -> None:
        """Take nothing for the time being, or take again; what runs is not touched."""
        self._gate.tell(gate.Event.QUIET if on else gate.Event.RESUME)
        self._intake.recheck()
        self._wake.set()

    def close_intake(self) -> None:
        """Take nothing from now on."""
        self._gate.tell(gate.Event.CLOSE)
        # At once: where the dispatcher waits for a Redis that hangs, its next tick may never come.
        self._collect()
        self._wake.set()

    def finish(self, timeout_s: float) -> bool:
        """Settle what there is and end; False when Redis did not accept everything in time."""
        self.close_intake()
        wait_until(lambda: self._holds_nothing and self._reconciler.over, timeout_s, self._clock)
        settled = self._holds_nothing
        if settled:
            # Upkeep, which else does it, ends as well. Redis may be gone or hang; the tasks are settled.
            with suppress(QueueError, gevent.Timeout), gevent.Timeout(LAST_MEND_S):
                self._broker.mend_lookups()
        else:
            log.error(
                "dispatch.unsettled",
                parent=self._outages.parent,
                tasks=[lease.task_id for lease in self.held()],
                consequence="kept in the state folder if there is one, else their leases run out",
            )
        self._unsettled.log.summarise(math.inf)
        self._ended = True
        self._wake.set()
        self._intake.end()
        return settled

    @property
    def _holds_nothing(self) -> bool:
        return self.slots.empty and not self._unsettled and not self._intake.watching

    # The loop ------------------------------------------------------------------------------------

    def run(self, pulse: Pulse) -> None:
        """Tick until :meth:`finish`."""
        try:
            while not self._ended:
                pulse.begin()
                # Before the tick: what is announced during it may come too late for it.
                self._wake.clear()
                delay_s = self.tick()
                pulse.rest(delay_s)
                if delay_s != 0:
                    self._wake.wait(delay_s)
        finally:
            pulse.end()

    def tick(self) -> float | None:
        """Do what can be done now. Returns seconds until there may be more to do; None: when woken."""
        self.slots.postponing = False
        self._collect()
        now_s = self._clock.monotonic()
        self._unsettled.log.summarise(now_s)
        if now_s < self._outages.redis.retry_at_s:
            return self._outages.redis.retry_at_s - now_s
        try:
            # Before anything is taken: a take under way would look like one whose reply was lost.
            self._outages.reconcile(now_s)
            self.slots.fill()
            if self.slots.busy and (postpone_s := self._unsettled.postpone_s(now_s)) > 0:
                self.slots.postponing = True
                return postpone_s
            now_s = self._exchange(now_s)
        except QueueError as exc:
            self._unsettled.reply_lost(keeps_results=self._broker.keeps_results)
            return self._outages.redis_failed(exc, len(self._unsettled))
        return self._decide_next(now_s)

    def _collect(self) -> None:
        self.slots.collect(self._unsettled.add_outcome)
        self._unsettled.collect_large()
        for late in self.slots.take_late(self._clock.monotonic()):
            self._unsettled.return_unneeded(late.task)
            self._intake.returned(late.request.queue)

    def _exchange(self, now_s: float) -> float:
        """Settle and take; returns the time after it."""
        unavailable = self._outages.unavailable(now_s)
        travels = self._unsettled.any_sendable(unavailable)
        room, free = self.slots.room(now_s, travels=travels), self.slots.free
        self._intake.release(room, free, now_s, self._gate.open, self._broker.reclaim, self._outages.begin)
        only_to_defer = self._gate.take_to_defer(now_s)
        asks = self._intake.asks(1 if only_to_defer else room, now_s, unavailable)
        if only_to_defer and not asks:
            # Nothing is watched while degraded: what was found empty may have tasks by the next look.
            self._intake.recheck()
        asks += self.slots.ahead.doubtful(now_s, {ask.queue for ask in asks}.union(unavailable))
        settlements = self._unsettled.sendable(unavailable)
        if settlements or asks:
            answer = self._broker.exchange(settlements, asks)
            asked_s, now_s = now_s, self._clock.monotonic()
            self.slots.ahead.pace.exchanged(now_s - asked_s)
            self.slots.ahead.learn(asks, answer.taken, asked_s)
            self._take_in(settlements, asks, answer, now_s)
        if self._outages.redis_worked():
            self._unsettled.replied()
        return now_s

    def _take_in(
        self, settlements: Sequence[Settlement], asks: Sequence[Ask], answer: Exchange, now_s: float
    ) -> None:
        """Take in an exchange's answer; raises its failure where that concerns more than one queue."""
        open_ = self._unsettled.answered(settlements, answer.replies, now_s, all_sent=not self._outages.any)
        self._admission.take_in(asks, answer, now_s)
        # What went back may be on its way here again, by the watch: no take of the same exchange finds it.
        for queue in {one.lease.queue for one in settlements if isinstance(one, Return)}:
            self._intake.returned(queue)
        self.slots.fill()
        failed: dict[str, QueueError] = dict(answer.unavailable)
        if isinstance(answer.failure, QueueRejected):
            # What Redis refuses concerns one queue, such as a key of another type; the others go on.
            failed |= dict.fromkeys({s.lease.queue for s in open_} - failed.keys(), answer.failure)
        if failed or self._outages.any:
            self._outages.learn(settlements, asks, failed)
        if answer.failure and not isinstance(answer.failure, QueueRejected):
            raise answer.failure

    def _decide_next(self, now_s: float) -> float | None:
        room, unavailable = self.slots.room(now_s), self._outages.unavailable(now_s)
        if self.slots.finished or self._unsettled.any_sendable(unavailable):
            return 0
        if self._intake.asks(room, now_s, unavailable):
            return 0
        if self._gate.open:
            self._intake.arm()
        looks_s = (
            self._reconciler.next_look_s(now_s, unavailable),
            self._outages.next_try_s(now_s) if unavailable else None,
            self.slots.next_look_s(now_s),
            self._gate.next_look_s(now_s),
            self._intake.next_look_s(room, self.slots.free, now_s),
            self._unsettled.log.next_look_s(now_s),
        )
        look_s = min((at_s for at_s in looks_s if at_s is not None), default=None)
        return None if look_s is None else max(0.001, look_s)
