"""What is unavailable, Redis or the node of some queues, when it is tried again, and what follows from it.

A take may have been carried out whose reply was lost, and nothing that was believed of the queues holds
any more. So each outage makes the dispatcher look for lost takes and ask every queue again.
"""

from collections.abc import Collection, Mapping, Sequence

import structlog

from appliance.clock import Clock
from appliance.dispatch.backoff import Backoff, Delays, Uniform
from appliance.dispatch.intake import Intake
from appliance.dispatch.reconciler import Reconciler
from appliance.errors import QueueError, QueueRejected
from appliance.queue.replies import Ask
from appliance.queue.settlement import Settlement

log = structlog.get_logger()

#: Between tries of Redis as a whole, and of a queue whose node of a Redis Cluster does not answer. Jittered.
REDIS_DELAYS = Delays(0.05, 5.0)
NODE_DELAYS = Delays(0.05, 2.0)
#: Consecutive failures after which the worker does not count as healthy.
UNHEALTHY_AFTER = 3


class Outages:
    """Those of one dispatcher. Times are monotonic seconds."""

    def __init__(
        self,
        parent: str,
        redis: Backoff,
        intake: Intake,
        reconciler: Reconciler,
        uniform: Uniform,
        clock: Clock,
    ) -> None:
        self.parent = parent
        self.redis = redis
        self._intake = intake
        self._reconciler = reconciler
        self._uniform = uniform
        self._clock = clock
        self._by_queue: dict[str, Backoff] = {}
        #: Those whose outcomes Redis refused: that it does other things for them says nothing.
        self._refused: set[str] = set()

    def redis_failed(self, error: QueueError, unsettled: int) -> float:
        """Nothing could be exchanged; returns the seconds until it is tried again."""
        if not self.redis.failures:
            log.warning(
                "dispatch.redis_unavailable", parent=self.parent, error=str(error), unsettled=unsettled
            )
        now_s = self._clock.monotonic()
        delay_s = self.redis.failed(now_s)
        # A take may have been carried out although its reply was lost.
        for source in self._intake.sources:
            self._reconciler.later(source.queue, now_s)
        self._intake.recheck()
        return delay_s

    def redis_worked(self) -> bool:
        """An exchange went well; returns whether that is news."""
        if not self.redis.failures:
            return False
        log.info("dispatch.redis_available", parent=self.parent, failures=self.redis.failures)
        self.redis.worked()
        return True

    def begin(self, queue: str, error: QueueError) -> None:
        """The queue's node did not answer, or refused an outcome, for the first time or once more."""
        # Read here: the try may have taken seconds, and the delay counts from its end.
        now_s = self._clock.monotonic()
        backoff = self._by_queue.get(queue)
        if backoff is None:
            backoff = self._by_queue[queue] = Backoff(NODE_DELAYS, self._uniform)
            log.warning("queue.unavailable", queue=queue, error=str(error))
        backoff.failed(now_s)
        self._reconciler.later(queue, now_s)
        self._intake.recheck(queue)

    def learn(
        self,
        settlements: Sequence[Settlement],
        asks: Sequence[Ask],
        failed: Mapping[str, QueueError],
    ) -> None:
        """What an exchange says of the queues it was about, of which those in ``failed`` did not answer."""
        tried = {ask.queue for ask in asks} | {settlement.lease.queue for settlement in settlements}
        for queue in tried - failed.keys():
            self._end(queue)
        for queue, error in failed.items():
            if isinstance(error, QueueRejected):
                self._refused.add(queue)
            self.begin(queue, error)

    def reconcile(self, now_s: float) -> None:
        """Look for lost takes in the queues that are due; only while no take is under way."""
        self._reconciler.tick(now_s, self.unavailable(now_s), self.begin, self._reconciled)

    def _reconciled(self, queue: str) -> None:
        """A look for lost takes went well: the queue is available, also where nothing else is to be done."""
        if queue not in self._refused:
            self._end(queue)

    def _end(self, queue: str) -> None:
        self._refused.discard(queue)
        backoff = self._by_queue.pop(queue, None)
        if backoff is not None:
            log.info("queue.available", queue=queue, failures=backoff.failures)

    def unavailable(self, now_s: float) -> Collection[str]:
        """The queues not to be tried yet."""
        # Hardly ever is there one, and this is asked for every task.
        if not self._by_queue:
            return ()
        return {queue for queue, backoff in self._by_queue.items() if backoff.retry_at_s > now_s}

    def next_try_s(self, now_s: float) -> float | None:
        """Seconds until the next of them may be tried again; None where that holds for all of them."""
        # One that may be tried already is, as soon as there is something to ask of it.
        waits_s = (backoff.retry_at_s - now_s for backoff in self._by_queue.values())
        return min((wait_s for wait_s in waits_s if wait_s > 0), default=None)

    @property
    def any(self) -> bool:
        """Whether the node of any queue is unavailable."""
        return bool(self._by_queue)

    @property
    def lasting(self) -> bool:
        """Whether Redis, or the node of a queue, has failed several times in succession."""
        failures = [backoff.failures for backoff in (self.redis, *self._by_queue.values())]
        return max(failures) >= UNHEALTHY_AFTER
