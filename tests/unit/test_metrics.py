"""What a scrape sees, before anything has happened and after."""

from collections import Counter
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.dispatch import slots, unsettled
from appliance.observe import metrics
from appliance.observe.tally import FAILURES, OUTCOMES, Tally
from appliance.queue.depths import Depths
from appliance.redeploy import Outcome
from appliance.snapshot import Identity, ParentSnapshot, RedisSnapshot, Status, WorkerSnapshot

#: Registered, without code, process or Redis yet: what ``deploying`` makes of a parent queue.
NEW = ParentSnapshot(
    name="a",
    commit=None,
    ready=False,
    recovery="idle",
    redis=RedisSnapshot("redis:6379"),
    queues={"a.high": 2, "a.low": 1},
)


def samples(parent: ParentSnapshot) -> dict[tuple[str, ...], float]:
    """Each sample's value by its name and, sorted, the values of its labels."""
    identity = Identity("w", "1", "3", started_at_wall_s=0.0, concurrency=2)
    snapshot = WorkerSnapshot(identity, Status.RUNNING, (parent,), now_wall_s=90.0)
    text = metrics.render(snapshot, ready=False).decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_counter_is_there_at_zero_before_the_first_event() -> None:
    found = samples(NEW)

    for queue in NEW.queues:
        for outcome in OUTCOMES:
            assert found["runqy_worker_tasks_total", queue, outcome] == 0
        for reason in FAILURES:
            assert found["runqy_worker_task_failures_total", queue, reason] == 0
        assert found["runqy_worker_task_run_seconds_count", queue] == 0
    for name in ("restarts", "leases_lost", "redis_errors"):
        assert found[f"runqy_worker_{name}_total", "a"] == 0


def test_events_change_values_and_never_which_series_there_are() -> None:
    tally = Tally()
    tally.outcomes = Counter(archived=2)
    tally.failures = Counter(crashed=1)
    found = samples(replace(NEW, tallies={"a.high": tally}))

    assert found.keys() == samples(NEW).keys()
    assert found["runqy_worker_tasks_total", "a.high", "archived"] == 2
    assert found["runqy_worker_task_failures_total", "a.high", "crashed"] == 1


@pytest.mark.parametrize("outcome", Outcome)
def test_a_refused_redeployment_shows_until_one_is_not(outcome: Outcome) -> None:
    assert samples(NEW)["runqy_worker_redeploy_refused", "a"] == 0
    found = samples(replace(NEW, redeployed={"outcome": outcome.value}))
    assert found["runqy_worker_redeploy_refused", "a"] == (outcome is Outcome.REFUSED)


def test_the_outcomes_and_failures_that_are_counted_are_the_ones_that_are_served() -> None:
    assert {*unsettled._OUTCOMES.values(), "refused"} == set(OUTCOMES)
    assert set(slots._FAILURES.values()) == set(FAILURES)


def test_what_redis_says_of_a_queue_is_served_and_what_it_does_not_say_is_left_out() -> None:
    depths = {
        "a.high": Depths(5, 1, 2, 3, 7, 4, paused=True, oldest_pending_s=12.5),
        "a.low": Depths(5, 1, 2, 3, 7, 4, paused=False, oldest_pending_s=None),
    }
    found = samples(replace(NEW, depths=depths))
    states = ("pending", "active", "scheduled", "retry", "archived", "completed")

    assert [found["runqy_queue_tasks", "a.high", state] for state in states] == [5, 1, 2, 3, 7, 4]
    assert found["runqy_queue_oldest_pending_seconds", "a.high"] == 12.5
    assert ("runqy_queue_oldest_pending_seconds", "a.low") not in found
    assert (found["runqy_queue_paused", "a.high"], found["runqy_queue_paused", "a.low"]) == (1, 0)
    assert not any(name.startswith("runqy_queue") for name, *_ in samples(NEW))
