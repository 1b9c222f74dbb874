"""Outcomes that Redis has not accepted yet, in the order in which they came about.

What they are is the policy's decision, when they may be sent the dispatcher's. Here they are kept, told
of once, and counted when the fence has answered.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import structlog

from appliance.clock import Clock
from appliance.observe.tally import Tally
from appliance.process.work import Outcome
from appliance.queue.broker import Verdict
from appliance.queue.message import Lease, Task
from appliance.queue.settlement import Archive, Complete, Defer, GiveBack, Policy, Retry, Settlement

log = structlog.get_logger()

_OUTCOMES: dict[type, str] = {
    Complete: "completed",
    Retry: "retried",
    Archive: "archived",
    GiveBack: "given_back",
    Defer: "put_off",
}


class Backlog(NamedTuple):
    """How many outcomes wait for Redis, and for how many seconds the oldest has."""

    outcomes: int
    oldest_s: float


class Unsettled:
    """See the module. ``tallies`` has one for each sub-queue."""

    def __init__(self, policy: Policy, tallies: Mapping[str, Tally], clock: Clock) -> None:
        self._policy = policy
        self._tallies = tallies
        self._clock = clock
        # Bound here: looking the logger up anew costs more than anything else that a task causes in here.
        self._log = log.bind()
        self._settlements: list[Settlement] = []
        self._since_s = 0.0
        self._maybe_deleted: set[Lease] = set()

    def __len__(self) -> int:
        return len(self._settlements)

    def __iter__(self) -> Iterator[Settlement]:
        return iter(self._settlements)

    @property
    def since_s(self) -> float:
        """Since when there are any (monotonic)."""
        return self._since_s

    def backlog(self, finished: int) -> Backlog:
        """What waits, with ``finished`` more that are not here yet."""
        waited_s = self._clock.monotonic() - self._since_s if self._settlements else 0.0
        return Backlog(len(self._settlements) + finished, waited_s)

    def add(self, settlement: Settlement) -> None:
        """Settle so."""
        if not self._settlements:
            self._since_s = self._clock.monotonic()
        self._settlements.append(settlement)

    def add_outcome(self, task: Task, outcome: Outcome) -> None:
        """Settle what came of a task's run, as the policy says."""
        settlement = self._policy.settle(task, outcome, self._clock.wall())
        self.add(settlement)
        match settlement:
            case Retry(lease, delay_s, retried, error):
                self._log.warning(
                    "task.retry",
                    task_id=lease.task_id,
                    queue=lease.queue,
                    retried=retried,
                    delay_s=delay_s,
                    error=_last_line(error),
                )
            case Archive(lease, _, error):
                self._log.warning(
                    "task.archived", task_id=lease.task_id, queue=lease.queue, error=_last_line(error)
                )
            case GiveBack(lease, reason):
                self._log.info("task.given_back", task_id=lease.task_id, queue=lease.queue, reason=reason)
            case Complete(lease):
                self._log.debug("task.completed", task_id=lease.task_id, queue=lease.queue)

    def sendable(self, away: Collection[str]) -> list[Settlement]:
        """Those whose queue is not away; they are the first of all from now on."""
        if not away:
            return self._settlements[:]
        self._settlements.sort(key=lambda settlement: settlement.lease.queue in away)
        return [settlement for settlement in self._settlements if settlement.lease.queue not in away]

    def any_sendable(self, away: Collection[str]) -> bool:
        """Whether there is one whose queue is not away."""
        return any(settlement.lease.queue not in away for settlement in self._settlements)

    def answered(
        self, sent: Sequence[Settlement], verdicts: Sequence[Verdict | None], now_s: float, *, all_sent: bool
    ) -> list[Settlement]:
        """Take in what the fence said to those ``sent``, the first of all; returns those it was silent on.

        ``all_sent``: none was kept back because its queue is away, so what is left came since.
        """
        pairs = list(zip(sent, verdicts, strict=True))
        open_ = [settlement for settlement, verdict in pairs if verdict is None]
        self._settlements[: len(sent)] = open_
        if all_sent and not open_:
            self._since_s = now_s
        for settlement, verdict in pairs:
            if verdict is not None:
                self._settled(settlement, verdict)
        return open_

    def doubt(self, *, keeps_results: bool) -> None:
        """An exchange failed: some of these may have been carried out although we were not told."""
        if not keeps_results:
            # Completed is deleted then.
            self._maybe_deleted |= {s.lease for s in self._settlements if isinstance(s, Complete)}

    def trust(self) -> None:
        """Redis answers again."""
        self._maybe_deleted.clear()

    def _settled(self, settlement: Settlement, verdict: Verdict) -> None:
        outcomes = self._tallies[settlement.lease.queue].outcomes
        if verdict in (Verdict.DONE, Verdict.SETTLED):
            outcomes[_OUTCOMES[type(settlement)]] += 1
            return
        if verdict is Verdict.GONE and settlement.lease in self._maybe_deleted:
            outcomes[_OUTCOMES[type(settlement)]] += 1
            self._log.debug("task.completed_before", task_id=settlement.lease.task_id)
            return
        outcomes["refused"] += 1
        self._log.warning(
            "task.outcome_refused",
            task_id=settlement.lease.task_id,
            queue=settlement.lease.queue,
            outcome=type(settlement).__name__,
            verdict=verdict.value,
        )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
