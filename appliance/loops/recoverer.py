"""Brings tasks of dead workers back: a lease that ran out charges a retry.

A task that kills its worker would otherwise go round for ever, taking one worker after another.
"""

from collections.abc import Callable, Sequence

import structlog

from appliance.clock import Clock
from appliance.process.outcome import Lapsed
from appliance.queue.broker import Broker
from appliance.queue.message import Lease
from appliance.queue.replies import FenceReply
from appliance.queue.settlement import Archive, Policy, Retry

log = structlog.get_logger()

#: What the task's ``error_msg`` says.
REASON = "lease expired: the worker running the task died or was cut off from Redis"


class Recoverer:
    """Settles expired attempts in the name of the workers that had them.

    Not those that ``held`` says are this worker's own: it lives, and is about to prolong them.
    """

    def __init__(
        self, broker: Broker, policy: Policy, clock: Clock, held: Callable[[], Sequence[Lease]]
    ) -> None:
        self._broker = broker
        self._policy = policy
        self._clock = clock
        self._held = held

    def tick(self, queue: str) -> int:
        """Recover what has expired in ``queue`` now, or part of it; returns how many."""
        taken = self._broker.lapsed(queue)
        settlements: list[Retry | Archive] = [
            self._policy.refuse(lease, f"{REASON}; {reason}") for lease, reason in taken.broken
        ]
        for task in taken.tasks:
            settlement = self._policy.settle(task, Lapsed(REASON), self._clock.wall())
            assert isinstance(settlement, Retry | Archive)  # noqa: S101  what Lapsed always becomes
            settlements.append(settlement)
        held = set(self._held())
        settlements = [settlement for settlement in settlements if settlement.lease not in held]
        recovered = 0
        for settlement, reply in zip(settlements, self._broker.settle_lapsed(settlements), strict=True):
            if reply is FenceReply.DONE:
                recovered += 1
                log.warning(
                    "task.recovered",
                    task_id=settlement.lease.task_id,
                    queue=queue,
                    owner=settlement.lease.owner,
                    outcome=type(settlement).__name__.lower(),
                )
        return recovered
