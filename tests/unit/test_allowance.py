"""What limits a flood: so much a second, so much at once, and a debt that is paid before more is given."""

from appliance.observe.allowance import Allowance


def _taken(allowance: Allowance, now_s: float, amount: float = 1.0) -> int:
    """How often ``amount`` can be had at this moment."""
    times = 0
    while not allowance.wait_s(now_s):
        allowance.spend(amount)
        times += 1
    return times


def test_a_burst_is_given_at_once_and_then_so_much_a_second() -> None:
    allowance = Allowance(rate=10, burst=5)

    assert _taken(allowance, 100.0) == 5
    assert _taken(allowance, 100.0) == 0
    assert _taken(allowance, 100.301) == 4
    assert _taken(allowance, 9_000.0) == 5


def test_what_cost_more_than_there_was_is_waited_for() -> None:
    allowance = Allowance(rate=10, burst=5)
    allowance.wait_s(100.0)
    allowance.spend(25)

    wait_s = allowance.wait_s(100.0)

    assert 2.0 <= wait_s < 2.01
    assert allowance.wait_s(100.0 + wait_s) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    allowance = Allowance(rate=10, burst=1)
    assert _taken(allowance, 100.0) == 1
    assert _taken(allowance, 50.0) == 0
