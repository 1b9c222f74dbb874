"""The plan of a run of chaos: a function of its seed, whole in what it holds, and never double trouble."""

from itertools import pairwise

import pytest

from harness.chaos import inject, plan
from harness.chaos.plan import Plan


def of(seed: int, duration_s: float = 60, workers: int = 3) -> Plan:
    return plan.make(seed, duration_s, workers)


def test_the_same_seed_is_the_same_plan_and_another_is_another() -> None:
    assert of(7) == of(7)
    assert plan.as_text(of(7)) == plan.as_text(of(7))
    assert of(7).tasks != of(8).tasks
    assert of(7).faults != of(8).faults


def test_another_worker_changes_nothing_of_what_was_planned_for_the_others() -> None:
    two, three = of(7, workers=2), of(7, workers=3)
    assert two.tasks == three.tasks
    assert set(map(str, two.faults)) < set(map(str, three.faults))


@pytest.mark.parametrize("seed", range(20))
def test_a_target_has_one_trouble_at_a_time_and_none_when_time_is_up(seed: int) -> None:
    for target in ("redis", "0", "1", "2"):
        faults = [fault for fault in of(seed).faults if fault.target == target]
        assert all(first.at_s + first.for_s < second.at_s for first, second in pairwise(faults))
        assert all(fault.at_s >= plan.QUIET_S and fault.at_s + fault.for_s <= 60.001 for fault in faults)


def test_every_behaviour_and_every_fault_comes_about_in_some_seed() -> None:
    plans = [of(seed) for seed in range(20)]
    assert {task.behaviour for each in plans for task in each.tasks} == set(plan.BEHAVIOURS)
    assert {fault.kind for each in plans for fault in each.faults} == {
        *plan.WORKER_FAULTS,
        *plan.REDIS_FAULTS,
    }
    assert {task.queue for task in plans[0].tasks} == set(plan.SUB_QUEUES)


def test_there_is_a_way_to_inject_each_planned_fault() -> None:
    assert {*plan.WORKER_FAULTS, *plan.REDIS_FAULTS} == inject.KINDS
