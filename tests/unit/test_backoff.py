"""How long something that fails is left alone."""

import pytest

from appliance.dispatch.backoff import Backoff, Delays

DELAYS = Delays(0.05, 5.0)


@pytest.mark.parametrize(
    ("failures", "delay_s"), [(1, 0.05), (2, 0.1), (3, 0.2), (7, 3.2), (8, 5.0), (5_000, 5.0)]
)
def test_the_delay_doubles_with_each_failure_up_to_the_longest(failures: int, delay_s: float) -> None:
    assert DELAYS.after(failures) == delay_s


def test_each_failure_sets_the_next_try() -> None:
    backoff = Backoff(DELAYS)

    assert [backoff.failed(100.0), backoff.failed(101.0)] == [0.05, 0.1]

    assert backoff.retry_at_s == 101.1
    assert backoff.failures == 2


def test_once_it_works_it_starts_over() -> None:
    backoff = Backoff(DELAYS)
    backoff.failed(100.0)
    backoff.failed(100.0)

    assert backoff.worked() == 2

    assert (backoff.failures, backoff.retry_at_s) == (0, 0.0)
    assert backoff.worked() == 0
    assert backoff.failed(200.0) == 0.05


def test_a_jittered_delay_is_between_a_half_and_the_whole_of_it() -> None:
    drawn: list[tuple[float, float]] = []
    factors = iter([0.5, 0.75])

    def uniform(least: float, most: float) -> float:
        drawn.append((least, most))
        return next(factors)

    backoff = Backoff(DELAYS, uniform)

    assert backoff.failed(10.0) == 0.025
    assert backoff.retry_at_s == 10.025
    assert backoff.failed(20.0) == pytest.approx(0.075)
    assert drawn == [(0.5, 1.0)] * 2
