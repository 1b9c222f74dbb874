"""Outcomes that Redis has not accepted yet, in the order in which they happened.

What they are is the policy's decision, when they are sent is the dispatcher's. Here they are kept, logged
once, and counted when the fence has answered.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

import structlog

from appliance.clock import Clock
from appliance.dispatch.large import LARGE_BYTES, LargeOutcomes, size
from appliance.dispatch.run import MOST_DESCRIBED
from appliance.dispatch.task_log import NOT_NEEDED, TaskLog
from appliance.observe.tally import Tally
from appliance.process.outcome import Outcome, Returned
from appliance.queue.message import Lease, Task
from appliance.queue.replies import FenceReply
from appliance.queue.settlement import Archive, Complete, Defer, Policy, Retry, Return, Settlement

log = structlog.get_logger()

#: Most bytes of outcomes in one round trip: a slow connection must send them before Redis counts as away.
MOST_TOGETHER_BYTES = 2 * LARGE_BYTES
#: Longest time in seconds that an outcome waits for others to travel with.
POSTPONE_S = 0.001
_OUTCOMES: dict[type, str] = {
    Complete: "completed",
    Retry: "retried",
    Archive: "archived",
    Return: "returned",
    Defer: "deferred",
}


class Backlog(NamedTuple):
    """How many outcomes wait for Redis, and for how many seconds the oldest has."""

    outcomes: int
    oldest_s: float


class Unsettled:
    """See the module. ``tallies`` has one for each sub-queue, ``large`` sends those too large for company."""

    def __init__(
        self, policy: Policy, tallies: Mapping[str, Tally], clock: Clock, large: LargeOutcomes
    ) -> None:
        self.policy = policy
        self.tallies = tallies
        self._clock = clock
        self._large = large
        self._log = log.bind()
        #: The lines about tasks that end.
        self.log = TaskLog(clock)
        self._settlements: list[Settlement] = []
        self._since_s = 0.0
        self._maybe_deleted: set[Lease] = set()

    def __len__(self) -> int:
        return len(self._settlements) + len(self._large)

    def __iter__(self) -> Iterator[Settlement]:
        return chain(self._settlements, self._large)

    def describe(self) -> list[dict[str, str]]:
        """The first of them, for the log."""
        return [
            {"task_id": s.lease.task_id, "queue": s.lease.queue, "outcome": type(s).__name__}
            for s in islice(self, MOST_DESCRIBED)
        ]

    def postpone_s(self, now_s: float) -> float:
        """For how long those there are may wait for others to travel with; nothing to wait for: 0 or less."""
        return self._since_s + POSTPONE_S - now_s if self._settlements else 0.0

    def backlog(self, finished: int) -> Backlog:
        """What waits, with ``finished`` more that are not here yet."""
        waited_s = self._clock.monotonic() - self._since_s if self._settlements else 0.0
        return Backlog(len(self) + finished, waited_s)

    def add(self, settlement: Settlement) -> None:
        """Keep a settlement."""
        if size(settlement) >= LARGE_BYTES:
            self._large.add(settlement)
            return
        if not self._settlements:
            self._since_s = self._clock.monotonic()
        self._settlements.append(settlement)

    @property
    def sending_large(self) -> bool:
        """Whether there are some that are sent alone."""
        return len(self._large) > 0

    def collect_large(self) -> None:
        """Take in what has become of those that were sent alone."""
        for settlement, reply, repeated, instead in self._large.take_answers():
            if instead is not None:
                self.add(instead)
            elif reply is not None:
                if repeated and isinstance(settlement, Complete):
                    self._maybe_deleted.add(settlement.lease)
                self._count(settlement, reply)

    def add_outcome(self, task: Task, outcome: Outcome, run_s: float | None = None) -> None:
        """Keep what the policy makes of a task's outcome, and log it; ``run_s`` is how long it ran."""
        settlement = self.policy.settle(task, outcome, self._clock.wall())
        self.add(settlement)
        self.log.ended(settlement, outcome, run_s)

    def return_unneeded(self, task: Task) -> None:
        """Let a task go back that was taken in advance and does not get its turn."""
        self.add_outcome(task, Returned(NOT_NEEDED))

    def sendable(self, unavailable: Collection[str]) -> list[Settlement]:
        """Those whose queue is not ``unavailable``, moved to the front, or as many as may travel together."""
        if unavailable:
            # More may be added while these travel, so that :meth:`answered` only replaces the front.
            self._settlements.sort(key=lambda settlement: settlement.lease.queue in unavailable)
        sendable, bytes_ = [], 0
        for settlement in self._settlements:
            bytes_ += size(settlement)
            if settlement.lease.queue in unavailable or bytes_ > MOST_TOGETHER_BYTES:
                break
            sendable.append(settlement)
        return sendable

    def any_sendable(self, unavailable: Collection[str]) -> bool:
        """Whether there is one whose queue is not ``unavailable``."""
        return any(settlement.lease.queue not in unavailable for settlement in self._settlements)

    def answered(
        self,
        sent: Sequence[Settlement],
        replies: Sequence[FenceReply | None],
        now_s: float,
        *,
        all_sent: bool,
    ) -> list[Settlement]:
        """Take in the fence's replies to those ``sent``, which are at the front; returns those without one.

        ``all_sent``: none was kept back because its queue is unavailable, so what is left came since.
        """
        pairs = list(zip(sent, replies, strict=True))
        open_ = [settlement for settlement, reply in pairs if reply is None]
        self._settlements[: len(sent)] = open_
        if all_sent and not open_:
            self._since_s = now_s
        for settlement, reply in pairs:
            if reply is not None:
                self._count(settlement, reply)
        return open_

    def reply_lost(self, *, keeps_results: bool) -> None:
        """An exchange failed: some of these may have been carried out although no reply came."""
        if not keeps_results:
            # A completed task is deleted then, so that the same outcome sent again finds it gone. That
            # is what it should find, and no refusal.
            self._maybe_deleted |= {s.lease for s in self._settlements if isinstance(s, Complete)}

    def replied(self) -> None:
        """An exchange went well: no reply is missing any more."""
        self._maybe_deleted.clear()

    def _count(self, settlement: Settlement, reply: FenceReply) -> None:
        tally, outcome = self.tallies[settlement.lease.queue], self._settled(settlement, reply)
        tally.outcomes[outcome] += 1
        if tally.trace:
            tally.trace.settled(settlement.lease, outcome)

    def _settled(self, settlement: Settlement, reply: FenceReply) -> str:
        """What became of it."""
        if reply in (FenceReply.DONE, FenceReply.SETTLED):
            return _OUTCOMES[type(settlement)]
        if reply is FenceReply.GONE and settlement.lease in self._maybe_deleted:
            self._log.debug("task.completed_before", task_id=settlement.lease.task_id)
            return _OUTCOMES[type(settlement)]
        self._log.warning(
            "task.outcome_refused",
            task_id=settlement.lease.task_id,
            queue=settlement.lease.queue,
            outcome=type(settlement).__name__,
            fence_reply=reply.value,
        )
        return "refused"
