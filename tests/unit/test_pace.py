"""When the next tasks are to be fetched, and how many."""

import pytest

from appliance.dispatch.pace import (
    EARLY_S,
    LEAST_WAIT_S,
    MATTERS,
    MOST_AHEAD,
    RECENT,
    SPARE_S,
    WORTHWHILE,
    Pace,
)


def paced(*runs_s: float, round_trip_s: float = 0.0) -> Pace:
    pace = Pace()
    for run_s in runs_s:
        pace.ran(run_s)
        pace.exchanged(round_trip_s)
    return pace


def needed(pace: Pace, *ages_s: float) -> int:
    return pace.needed(pace.ends_in_s([(age_s, 0.0) for age_s in ages_s]))


def test_nothing_is_fetched_ahead_before_a_run_has_ended() -> None:
    assert Pace().ends_in_s([(0.0, 0.0)]) == []
    assert needed(Pace(), 0.0) == 0


def test_a_run_may_end_when_the_shortest_of_those_that_took_longer_did() -> None:
    pace = paced(0.1, 0.3, 0.2, round_trip_s=0.02)
    assert pace.ends_in_s([(0.0, 0.0)]) == pytest.approx([0.1])
    assert pace.ends_in_s([(0.15, 0.0)]) == pytest.approx([0.05])
    assert pace.ends_in_s([(0.05, 0.25)]) == pytest.approx([0.25])
    assert pace.ends_in_s([(0.3, 0.0), (0.37, 0.0)]) == [0.0, 0.0], "a little longer than any before"
    assert pace.ends_in_s([(0.38 + SPARE_S, 0.0), (1.0, 0.0), (0.1, 0.5)]) == []
    assert pace.ends_in_s([(0.0, 0.0), (0.25, 0.0)]) == pytest.approx([0.05, 0.1])


def test_as_many_are_needed_as_begin_before_the_answer_to_the_next_exchange() -> None:
    until_s = 2 * 0.08 + EARLY_S
    assert needed(paced(0.01, round_trip_s=0.08), 0.0) == int(until_s / 0.01)
    assert needed(paced(0.1, round_trip_s=0.08), 0.0) == 1
    assert needed(paced(0.1, round_trip_s=0.08), 0.0, 0.03) == 3
    assert needed(paced(0.2, round_trip_s=0.08), 0.0) == 0
    assert needed(paced(0.2, round_trip_s=0.08), 0.05) == 1


def test_of_very_short_ones_some_are_fetched_that_travel_together() -> None:
    assert needed(paced(0.0001), 0.0) == WORTHWHILE
    assert needed(paced(0.0), 0.0) == 0, "not even the clock has seen it run"
    assert needed(paced(1e-6, round_trip_s=1.0), 0.0) == MOST_AHEAD


def test_nothing_is_fetched_ahead_of_runs_beside_which_a_wait_is_nothing() -> None:
    enough_s = MATTERS * (0.02 + LEAST_WAIT_S)
    assert paced(enough_s, round_trip_s=0.02).ends_in_s([(0.0, 0.0)])
    assert not paced(enough_s * 1.01, round_trip_s=0.02).ends_in_s([(0.0, 0.0)])


def test_what_was_long_ago_is_forgotten() -> None:
    pace = paced(0.01, *[0.05] * RECENT)
    assert pace.ends_in_s([(0.0, 0.0)]) == pytest.approx([0.05])


def test_an_exchange_that_hung_says_nothing_of_the_next() -> None:
    pace = paced(*[0.1] * RECENT, round_trip_s=0.02)
    pace.exchanged(5.0)
    assert pace.round_trip_s == 0.02
    for _ in range(RECENT):
        pace.exchanged(0.04)
    assert pace.round_trip_s == 0.04
