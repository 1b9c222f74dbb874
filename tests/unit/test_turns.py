"""Code that works on one task at a time is recognised by its answers, and no other is taken for it."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterator

import pytest

from appliance.process.turns import ENOUGH_ANSWERS, Turns


def play(
    concurrency: int, seconds: Iterator[float], *, serial: bool, arrivals: Callable[[int], float]
) -> bool:
    """200 tasks; returns whether it was said that they are worked on one at a time."""
    turns, running, now_s, busy_until_s, said = Turns(), [], 0.0, 0.0, False
    order = itertools.count()
    waiting = [(arrivals(number), next(seconds)) for number in range(200)]
    while waiting or running:
        next_arrival_s = waiting[0][0] if waiting and len(running) < concurrency else float("inf")
        if running and running[0][0] <= max(next_arrival_s, now_s):
            now_s, number, added_s = heapq.heappop(running)
            in_order = all(number < other for _, other, _ in running)
            said |= turns.answered(added_s, now_s, in_order=in_order, in_flight=len(running) + 1)
            continue
        arrival_s, lasts_s = waiting.pop(0)
        now_s = max(now_s, arrival_s)
        begins_s = max(now_s, busy_until_s) if serial else now_s
        busy_until_s = begins_s + lasts_s
        heapq.heappush(running, (busy_until_s, next(order), now_s))
    return said


def at_once(_: int) -> float:
    return 0.0


def in_turn(number: int) -> float:
    return 0.31 * number


def in_bursts(number: int) -> float:
    return 100.0 * (number // 8)


def lasting(seed: int, jitter: float) -> Iterator[float]:
    rng = random.Random(seed)
    return (1.0 + rng.uniform(0, jitter) for _ in itertools.count())


@pytest.mark.parametrize("concurrency", [2, 4, 16])
@pytest.mark.parametrize(
    ("jitter", "arrivals"),
    [(0.0, at_once), (0.3, at_once), (0.0, in_turn), (0.0, in_bursts), (5.0, in_bursts)],
)
def test_one_at_a_time_is_recognised(
    concurrency: int, jitter: float, arrivals: Callable[[int], float]
) -> None:
    assert play(concurrency, lasting(1, jitter), serial=True, arrivals=arrivals)


@pytest.mark.parametrize("concurrency", [2, 4, 16])
@pytest.mark.parametrize("jitter", [0.0, 0.001, 0.3, 5.0])
@pytest.mark.parametrize("arrivals", [at_once, in_turn, in_bursts])
@pytest.mark.parametrize("seed", range(5))
def test_several_at_a_time_is_never_taken_for_one(
    concurrency: int, jitter: float, arrivals: Callable[[int], float], seed: int
) -> None:
    assert not play(concurrency, lasting(seed, jitter), serial=False, arrivals=arrivals)


def test_it_is_said_once() -> None:
    turns = Turns()
    said = [turns.answered(0.0, float(n), in_order=True, in_flight=4) for n in range(10 * ENOUGH_ANSWERS)]
    assert said.count(True) == 1
    assert turns.most == 4


def test_tasks_one_after_the_other_with_nothing_behind_them_say_nothing() -> None:
    turns = Turns()
    assert not any(turns.answered(n + 0.5, n + 1.0, in_order=True, in_flight=1) for n in range(100))


def test_very_short_tasks_say_nothing() -> None:
    turns = Turns()
    assert not any(turns.answered(0.0, n * 0.001, in_order=True, in_flight=4) for n in range(100))
