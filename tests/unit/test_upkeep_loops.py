"""When upkeep looks again, and what a lease that is gone means to its holder; a clock set by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from appliance.loops.forwarder import GRACE_S, LONGEST_S, Forwarder
from appliance.loops.janitor import MOST_IN_A_ROW, Janitor
from appliance.loops.leases import Leases
from appliance.loops.recoverer import Recoverer
from appliance.queue.broker import UPKEEP_BATCH, Broker
from appliance.queue.message import Lease
from appliance.queue.replies import FenceReply, Forwarded, Round
from tests.clock import HandClock

QUEUE = "inference.high"


@dataclass
class ScriptedBroker:
    """Answers as the test says, and remembers what it was asked."""

    moved: int = 0
    lapsed: int = 0
    over: int = 0
    purged: list[int] = field(default_factory=list)
    purges: int = 0
    answers: Mapping[Lease, FenceReply] = field(default_factory=dict)
    extended: list[list[Lease]] = field(default_factory=list)
    purge_s: float = 0.0
    redis_ahead_s: float = 0.0
    clock: HandClock | None = None

    def mend_lookups(self) -> None:
        """There are none to mend."""

    def forward(self, queues: Sequence[str]) -> Round:
        found = Forwarded(self.moved, None, self.lapsed, 0, 0, self.over, self._redis_s)
        return Round(dict.fromkeys(queues, found), None)

    @property
    def _redis_s(self) -> float:
        return self.clock.monotonic() + self.redis_ahead_s if self.clock else 0.0

    def purge(self, queue: str, ttl_archived_s: float) -> int:
        self.purges += 1
        if self.clock:
            self.clock.sleep(self.purge_s)
        return self.purged.pop(0) if self.purged else 0

    def extend(self, leases: Iterable[Lease]) -> dict[Lease, FenceReply]:
        self.extended.append(list(leases))
        return {lease: self.answers[lease] for lease in self.extended[-1]}

    def as_broker(self) -> Broker:
        return cast(Broker, self)


@dataclass
class CountingRecoverer:
    """Recovers as many as the test says."""

    recovers: int
    looks: int = 0

    def tick(self, queue: str) -> int:
        self.looks += 1
        return self.recovers


def forwarder(
    broker: ScriptedBroker, recoverer: CountingRecoverer, clock: HandClock, lease_s: float = 0
) -> Forwarder:
    """Without a lease's time it does not wait with recovery after the first look."""
    janitor = Janitor(broker.as_broker(), clock, 60)
    return Forwarder([QUEUE], broker.as_broker(), cast(Recoverer, recoverer), janitor, clock, lease_s)


@pytest.mark.parametrize(
    ("recovers", "wait_s"), [(0, LONGEST_S), (1, 0.0), (7, LONGEST_S)], ids=["none", "some", "all"]
)
def test_where_some_of_many_were_recovered_the_next_look_is_at_once(recovers: int, wait_s: float) -> None:
    recoverer = CountingRecoverer(recovers)
    assert forwarder(ScriptedBroker(lapsed=7), recoverer, HandClock(1.0)).tick() == wait_s


@pytest.mark.parametrize(("lease_s", "waits_s"), [(2.0, 2.0), (30.0, GRACE_S)])
def test_a_worker_that_has_just_started_recovers_nothing_for_a_while(lease_s: float, waits_s: float) -> None:
    recoverer, clock = CountingRecoverer(1), HandClock(now_s=1_000_000.0)
    looks = forwarder(ScriptedBroker(lapsed=1), recoverer, clock, lease_s)
    looks.tick()
    for _ in range(int(waits_s) - 1):
        clock.sleep(1)
        looks.tick()
    assert recoverer.looks == 0
    clock.sleep(1)
    looks.tick()
    assert recoverer.looks == 1


def test_upkeep_that_has_so_much_to_clear_up_that_it_takes_long_still_recovers() -> None:
    recoverer, clock = CountingRecoverer(0), HandClock(now_s=1_000_000.0)
    broker = ScriptedBroker(
        lapsed=1, over=1_000_000, purged=[UPKEEP_BATCH] * 10_000, purge_s=0.1, clock=clock
    )
    looks = forwarder(broker, recoverer, clock, lease_s=30)
    for _ in range(4):
        clock.sleep(looks.tick())
    assert recoverer.looks > 0


@pytest.mark.parametrize("away_s", [0.0, 60.0])
def test_where_redis_goes_on_elsewhere_with_a_clock_set_forward_recovery_waits_for_a_whole_lease(
    away_s: float,
) -> None:
    recoverer, clock = CountingRecoverer(1), HandClock(now_s=1_000_000.0)
    broker = ScriptedBroker(lapsed=1, clock=clock)
    looks = forwarder(broker, recoverer, clock, lease_s=30)
    for _ in range(20):
        clock.sleep(looks.tick())
    before = recoverer.looks
    assert before > 0
    clock.sleep(away_s)
    broker.redis_ahead_s = 1000
    for _ in range(30):
        looks.tick()
        clock.sleep(1)
    assert recoverer.looks == before
    looks.tick()
    assert recoverer.looks == before + 1


def test_tasks_whose_time_has_come_are_purged_at_once_until_a_batch_is_not_full() -> None:
    broker = ScriptedBroker(over=UPKEEP_BATCH + 1, purged=[UPKEEP_BATCH, 1])
    forwarder(broker, CountingRecoverer(0), HandClock(1.0)).tick()
    assert broker.purges == 2


def test_where_tasks_are_over_faster_than_they_are_purged_the_other_queues_have_their_turn() -> None:
    broker = ScriptedBroker(over=1_000_000, purged=[UPKEEP_BATCH] * 10_000)
    forwarder(broker, CountingRecoverer(0), HandClock(1.0)).tick()
    assert broker.purges == MOST_IN_A_ROW


def test_a_queue_without_a_task_that_is_over_is_not_purged() -> None:
    broker = ScriptedBroker()
    forwarder(broker, CountingRecoverer(0), HandClock(1.0)).tick()
    assert broker.purges == 0


@pytest.mark.parametrize("answer", [FenceReply.LOST, FenceReply.GONE])
def test_a_lease_that_another_has_or_whose_task_is_gone_is_lost_once_and_not_extended_again(
    answer: Any,
) -> None:
    gone, held = Lease(QUEUE, "gone", "me", "1"), Lease(QUEUE, "held", "me", "1")
    broker = ScriptedBroker(answers={gone: answer, held: FenceReply.DONE})
    leases = Leases(broker.as_broker(), lambda: [gone, held], 10.0)

    for _ in range(3):
        leases.tick()

    assert leases.lost_total == 1
    assert broker.extended == [[gone, held], [gone, held], [held]]


@pytest.mark.parametrize("settled_in", ["the same look", "the time until the next"])
def test_a_lease_whose_outcome_was_on_its_way_when_it_was_refused_is_not_lost(settled_in: str) -> None:
    lease = Lease(QUEUE, "done", "me", "1")
    broker = ScriptedBroker(answers={lease: FenceReply.GONE})
    looks = [[lease], [], [], []] if settled_in == "the same look" else [[lease], [lease], [], []]
    leases = Leases(broker.as_broker(), iter(looks).__next__, 10.0)

    leases.tick()
    leases.tick()

    assert leases.lost_total == 0
