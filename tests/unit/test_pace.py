"""When tasks count as so short that the next ones are fetched ahead."""

from appliance.loops.pace import MOST_AHEAD, SHORT_S, WORTHWHILE, Pace


def paced(run_s: float, exchange_s: float, concurrency: int = 1, runs: int = 100) -> Pace:
    pace = Pace(concurrency)
    for _ in range(runs):
        pace.ran(run_s)
        pace.exchanged(exchange_s)
    return pace


def test_nothing_is_fetched_ahead_before_anything_is_known() -> None:
    assert paced(0.0001, 0.0002, runs=0).ahead == 0
    assert paced(0.0001, 0.0002, runs=4).ahead == 0


def test_as_many_are_fetched_as_end_in_two_exchanges() -> None:
    assert paced(0.0001, 0.00195).ahead == 39
    assert paced(0.0008, 0.00195, concurrency=8).ahead == 39


def test_some_are_fetched_where_redis_is_faster_than_a_run_so_that_they_travel_together() -> None:
    assert paced(0.0001, 0.0001).ahead == WORTHWHILE


def test_none_would_wait_for_half_of_what_a_task_may_wait() -> None:
    assert paced(0.001, 0.01).ahead == 5
    assert paced(0.0026, 0.01).ahead == 1
    assert paced(0.0026, 0.01, concurrency=4).ahead == 7


def test_it_is_bounded() -> None:
    assert paced(0.0, 1.0).ahead == MOST_AHEAD
    assert paced(SHORT_S * 0.9, 0.0001).ahead == 1


def test_one_long_run_ends_it_and_several_short_ones_begin_it_again() -> None:
    pace = paced(0.0001, 0.0003)
    assert pace.ahead > 0

    pace.ran(SHORT_S)
    assert pace.ahead == 0

    pace.ran(0.0001)
    assert pace.ahead > 0, "one run of just the limit is soon forgotten"

    pace.ran(10.0)
    for _ in range(50):
        pace.ran(0.0001)
    assert pace.ahead == 0, "ten seconds are not"


def test_long_tasks_are_never_fetched_ahead() -> None:
    assert paced(SHORT_S, 1.0).ahead == 0
