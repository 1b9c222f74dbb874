"""Outcomes that wait for Redis."""

from collections import Counter
from typing import cast

import pytest
from structlog.testing import capture_logs

from appliance.dispatch.large import LargeOutcomes
from appliance.dispatch.unsettled import POSTPONE_S, Unsettled
from appliance.observe.tally import Tally
from appliance.process.outcome import Returned, Succeeded
from appliance.queue.message import Lease
from appliance.queue.replies import FenceReply
from appliance.queue.settlement import Settlement
from tests.unit.dispatching import HIGH, LOW, POLICY, FakeClock, task

OK = Succeeded(b"1")


class Kept:
    """Outcomes and the time; what is sent is answered as the test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.tallies = {HIGH: Tally(), LOW: Tally()}
        self.unsettled = Unsettled(POLICY, self.tallies, self.clock, cast(LargeOutcomes, ()))

    def add(self, task_id: str, queue: str = HIGH, outcome: Succeeded | Returned = OK) -> None:
        self.unsettled.add_outcome(task(task_id, queue), outcome)

    def answer(
        self, sent: list[Settlement], *replies: FenceReply | None, all_sent: bool = True
    ) -> list[Settlement]:
        return self.unsettled.answered(sent, replies, self.clock.now_s, all_sent=all_sent)

    @property
    def ids(self) -> list[str]:
        return [settlement.lease.task_id for settlement in self.unsettled]

    @property
    def counts(self) -> Counter[str]:
        return self.tallies[HIGH].outcomes


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_the_age_of_what_waits_is_that_of_the_oldest(kept: Kept) -> None:
    kept.clock.now_s += 10
    kept.add("a")
    kept.clock.now_s += 2
    kept.add("b")
    kept.clock.now_s += 1

    assert kept.unsettled.backlog(finished=3) == (5, pytest.approx(3))
    assert kept.unsettled.postpone_s(kept.clock.now_s - 3) == pytest.approx(POSTPONE_S)


def test_nothing_has_no_age_and_postpones_nothing(kept: Kept) -> None:
    kept.clock.now_s += 10
    assert kept.unsettled.backlog(finished=0) == (0, 0.0)
    assert kept.unsettled.postpone_s(-1.0) == 0.0


def test_what_was_added_while_others_travelled_stays_and_counts_from_their_answer(kept: Kept) -> None:
    kept.add("a")
    sent = kept.unsettled.sendable(())
    kept.clock.now_s += 2
    kept.add("b")
    kept.clock.now_s += 1

    assert kept.answer(sent, FenceReply.DONE) == []

    assert kept.ids == ["b"]
    kept.clock.now_s += 1
    assert kept.unsettled.backlog(finished=0) == (1, pytest.approx(1))


@pytest.mark.parametrize(
    ("reply", "all_sent"), [(None, True), (FenceReply.DONE, False)], ids=["no answer", "one kept back"]
)
def test_what_still_waits_after_an_exchange_keeps_its_age(
    kept: Kept, reply: FenceReply | None, all_sent: bool
) -> None:
    kept.add("a")
    kept.add("b")
    sent = kept.unsettled.sendable(())[:1]
    kept.clock.now_s += 3

    kept.answer(sent, reply, all_sent=all_sent)

    assert kept.unsettled.backlog(finished=0).oldest_s == pytest.approx(3)


def test_those_of_an_unavailable_queue_are_kept_back_and_stay(kept: Kept) -> None:
    kept.add("a", HIGH)
    kept.add("b", LOW)
    kept.add("c", HIGH)

    sent = kept.unsettled.sendable({HIGH})
    assert [settlement.lease.task_id for settlement in sent] == ["b"]
    assert kept.unsettled.any_sendable({HIGH})

    kept.answer(sent, FenceReply.DONE, all_sent=False)
    assert kept.ids == ["a", "c"]
    assert not kept.unsettled.any_sendable({HIGH})


def test_those_without_an_answer_are_sent_again_before_the_others(kept: Kept) -> None:
    for task_id in "abc":
        kept.add(task_id)
    sent = kept.unsettled.sendable(())
    kept.add("d")

    open_ = kept.answer(sent, FenceReply.DONE, None, FenceReply.SETTLED)

    assert [settlement.lease.task_id for settlement in open_] == ["b"]
    assert kept.ids == ["b", "d"]
    assert kept.counts == {"completed": 2}


def test_a_task_that_is_gone_is_refused_where_completed_tasks_are_kept(kept: Kept) -> None:
    kept.add("a")
    sent = kept.unsettled.sendable(())
    kept.unsettled.reply_lost(keeps_results=True)
    with capture_logs() as events:
        kept.answer(sent, FenceReply.GONE)

    assert kept.counts == {"refused": 1}
    assert [(event["event"], event["task_id"], event["fence_reply"]) for event in events] == [
        ("task.outcome_refused", "a", "gone")
    ]


@pytest.mark.parametrize(
    ("outcome", "reply", "replied", "counted"),
    [
        (OK, FenceReply.GONE, False, "completed"),
        (OK, FenceReply.LOST, False, "refused"),
        (OK, FenceReply.GONE, True, "refused"),
        (Returned("drain"), FenceReply.GONE, False, "refused"),
    ],
    ids=["deleted by itself", "lost", "Redis has answered since", "returned, which deletes nothing"],
)
def test_only_a_completion_whose_reply_was_lost_may_find_its_task_gone(
    kept: Kept, outcome: Succeeded | Returned, reply: FenceReply, replied: bool, counted: str
) -> None:
    kept.add("a", outcome=outcome)
    sent = kept.unsettled.sendable(())
    kept.unsettled.reply_lost(keeps_results=False)
    if replied:
        kept.unsettled.replied()

    kept.answer(sent, reply)

    assert kept.counts == {counted: 1}


def test_a_list_for_people_names_the_first_of_them(kept: Kept) -> None:
    for n in range(101):
        kept.add(f"t{n}")

    described = kept.unsettled.describe()

    assert len(described) == 100
    assert described[0] == {"task_id": "t0", "queue": HIGH, "outcome": "Complete"}


def test_a_failure_without_a_text_is_logged_without_one(kept: Kept) -> None:
    with capture_logs() as events:
        kept.unsettled.add(POLICY.refuse(Lease(HIGH, "a", "me", "1"), ""))
        kept.add("b", outcome=Returned("drain"))
    assert [(event["event"], event["reason"]) for event in events] == [("task.returned", "drain")]
