"""The task process never waits for Redis, and no task waits beside an idle worker: in simulated time."""

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulated import Redis, Time, Worker, longest_s

#: Round trips to Redis, in seconds: beside it, in another region, on another continent.
ROUND_TRIPS_S = (0.0003, 0.02, 0.08)
#: What a task may wait beside an idle worker, in seconds, and two round trips.
ALLOWED_S = 0.05
#: Tasks of which the first few are not counted: nothing is known of their length yet.
TOTAL, LEARNING = 200, 30


def utilisation(round_trip_s: Callable[[], float], lengths_s: Sequence[float], concurrency: int = 1) -> float:
    """The share of the time for which the process worked, with a backlog before and behind."""
    time = Time()
    redis = Redis(time)
    redis.push(lengths_s)
    Worker(redis, round_trip_s, concurrency=concurrency)
    time.run(lambda: redis.done >= LEARNING * concurrency, 3600)
    from_s = time.now_s
    time.run(lambda: redis.done >= len(lengths_s) * 0.9, 3600)
    worked_s = sum(
        max(0.0, min(story.started_s + story.length_s, time.now_s) - max(story.started_s, from_s))
        for story in redis.stories.values()
        if story.started_s is not None
    )
    return worked_s / concurrency / (time.now_s - from_s)


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("length_s", [0.01, 0.05, 0.1, 0.2, 1.0])
@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS_S)
def test_the_process_never_waits_for_redis(round_trip_s: float, length_s: float, concurrency: int) -> None:
    lengths_s = [length_s] * TOTAL * concurrency
    assert utilisation(lambda: round_trip_s, lengths_s, concurrency) > 0.985


@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS_S)
def test_nor_does_it_where_lengths_and_round_trips_vary_a_little(round_trip_s: float) -> None:
    chance = random.Random(1)
    lengths_s = [chance.uniform(0.045, 0.055) for _ in range(TOTAL)]
    assert utilisation(lambda: round_trip_s * chance.uniform(0.9, 1.1), lengths_s) > 0.985


def run_two(
    round_trip_s: float, lengths_s: Sequence[float], pauses_s: Sequence[float]
) -> tuple[Redis, float]:
    """Two workers, and a task each time a pause is over; returns the longest that one was held unbegun by one
    worker, as Redis sees it, while the other had nothing to do."""
    time = Time()
    redis = Redis(time)
    workers = [Worker(redis, lambda: round_trip_s) for _ in range(2)]
    at_s = 0.0
    for length_s, pause_s in zip(lengths_s, pauses_s, strict=True):
        at_s += pause_s
        time.after(at_s, lambda length_s=length_s: redis.push([length_s]))
    time.run(lambda: redis.done >= len(lengths_s), 3600)
    idle = [span for worker in workers for span in worker.process.idle_until(time.now_s)]
    held = [longest_s(span, idle) for story in redis.stories.values() for span in story.held]
    return redis, max(held)


@pytest.mark.parametrize("round_trip_s", ROUND_TRIPS_S)
def test_no_task_of_a_backlog_of_mixed_lengths_is_held_beside_an_idle_worker(round_trip_s: float) -> None:
    returned = 0
    for seed in range(20):
        chance = random.Random(seed)
        lengths_s = [chance.choice([0.01, 0.01, 0.01, 0.01, 0.2, 1.0]) for _ in range(60)]
        redis, held_s = run_two(round_trip_s, lengths_s, [0.0] * 60)
        assert held_s <= 2 * round_trip_s + ALLOWED_S
        returned += redis.returned
    assert returned > 0, "some were fetched ahead of long ones"


@pytest.mark.parametrize("length_s", [0.0003, 0.001, 0.003])
def test_short_tasks_do_not_go_back_for_a_stall_while_more_wait(length_s: float) -> None:
    time = Time()
    redis = Redis(time)
    # As on a busy machine: now and then the process does nothing for longer than a task may wait here.
    chance = random.Random(1)
    lengths_s = [chance.uniform(0.05, 0.07) if chance.random() < 0.005 else length_s for _ in range(2000)]
    redis.push(lengths_s)
    Worker(redis, lambda: 0.0003)

    time.run(lambda: redis.done >= 1900, 3600)

    assert redis.returned < 40
    begun_s = [story.started_s for story in redis.stories.values() if story.started_s is not None]
    assert begun_s == sorted(begun_s)


LENGTHS_S = st.sampled_from([0.001, 0.01, 0.05, 0.2, 1.0])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(LENGTHS_S, st.sampled_from([0.0, 0.0, 0.005, 0.1])), min_size=1, max_size=40),
    st.sampled_from(ROUND_TRIPS_S),
)
def test_whatever_comes_every_task_runs_once_and_none_is_kept_for_long(
    tasks: list[tuple[float, float]], round_trip_s: float
) -> None:
    redis, _ = run_two(round_trip_s, *zip(*tasks, strict=True))
    # An exchange that is under way when it should go back, and letting go of what arrived, take their time.
    most_s = 4 * round_trip_s + 2 * ALLOWED_S
    assert all(end_s - start_s <= most_s for story in redis.stories.values() for start_s, end_s in story.held)
    assert all(story.runs == 1 for story in redis.stories.values())
