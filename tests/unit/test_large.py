"""Outcomes that are sent alone: whose fault it is when one does not arrive; a clock set by hand."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from appliance.dispatch.large import LARGE_BYTES, MOST_REFUSALS, LargeOutcomes
from appliance.errors import QueueError, QueueUnavailable
from appliance.queue.broker import Broker
from appliance.queue.replies import FenceReply
from appliance.queue.settlement import Archive, Complete, Settlement
from tests.clock import HandClock
from tests.unit.dispatching import POLICY, task

AWAY = QueueUnavailable("Redis is away")


@dataclass
class ScriptedBroker:
    """Fails for the tasks named in ``failing``; ``refuses`` says whether that is meant for them."""

    failing: set[str] = field(default_factory=set)
    refuses: bool = True
    sent: list[str] = field(default_factory=list)

    def settle(self, settlements: list[Settlement]) -> tuple[FenceReply, ...]:
        (settlement,) = settlements
        self.sent.append(settlement.lease.task_id)
        if settlement.lease.task_id in self.failing:
            raise AWAY
        return (FenceReply.DONE,)

    def refused(self, exc: QueueError) -> bool:
        assert exc is AWAY
        return self.refuses


class Kept:
    def __init__(self) -> None:
        self.broker, self.clock, self.woken = ScriptedBroker(), HandClock(), 0
        self.large = LargeOutcomes(cast(Broker, self.broker), POLICY, self.clock, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def add(self, task_id: str) -> None:
        self.large.add(Complete(task(task_id).lease, b"x" * LARGE_BYTES, 0, ""))

    def play(self, tries: int) -> None:
        for _ in range(tries):
            self.clock.sleep(self.large.tick() or 0)

    @property
    def ids(self) -> list[str]:
        return [settlement.lease.task_id for settlement in self.large]


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_what_is_settled_is_held_until_the_dispatcher_has_taken_the_answer(kept: Kept) -> None:
    kept.add("a")
    kept.play(1)
    assert (kept.ids, kept.woken) == (["a"], 1)
    (answer,) = kept.large.take_answers()
    assert (answer.reply, answer.repeated) == (FenceReply.DONE, False)
    assert len(kept.large) == 0
    assert kept.large.tick() is None


def test_while_redis_is_away_none_is_given_up_however_often_it_was_tried(kept: Kept) -> None:
    kept.broker.failing, kept.broker.refuses = {"a"}, False
    kept.add("a")
    kept.play(10 * MOST_REFUSALS)
    assert list(kept.large.take_answers()) == []

    kept.broker.failing = set()
    kept.play(2)
    (answer,) = kept.large.take_answers()
    assert (answer.reply, answer.repeated) == (FenceReply.DONE, True)


def test_one_that_redis_refuses_again_and_again_is_given_up_and_holds_up_no_other(kept: Kept) -> None:
    kept.broker.failing = {"a"}
    kept.add("a")
    kept.add("b")
    kept.play(2)
    assert [answer.settlement.lease.task_id for answer in kept.large.take_answers()] == ["b"]

    kept.play(2 * MOST_REFUSALS)
    (answer,) = kept.large.take_answers()
    assert kept.broker.sent.count("a") == MOST_REFUSALS
    assert answer.reply is None
    assert isinstance(answer.instead, Archive)
    assert answer.instead.lease == answer.settlement.lease
    assert f"{LARGE_BYTES} bytes" in answer.instead.error_msg
