"""Whose turn it is, held to what a user is promised of it."""

from collections import Counter
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.kinds.words import Choice
from appliance.config.options import OPTION_OF_PATH
from appliance.dispatch.order import STRATEGIES, Order, strict, weighted

#: What the promise says: so many takes, and how far from its share a queue may be.
TAKES = 10_000
TOLERANCE = 0.05

NAMES = st.integers(2, 6).map(lambda n: "abcdef"[:n])
ROOMS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@st.composite
def priorities(draw: st.DrawFn, least: int = -3, most: int = 100) -> dict[str, int]:
    return {name: draw(st.integers(least, most)) for name in draw(NAMES)}


def serve(order: Order, queues: str, takes: int, rooms: tuple[int, ...] | list[int] = (1,)) -> list[str]:
    """Queues of one tier, each with more tasks than are taken; what came, in the order of exchanges."""
    came: list[str] = []
    exchange = 0
    while len(came) < takes:
        room = min(rooms[exchange % len(rooms)], takes - len(came))
        for queue, count in order.split(queues, room).items():
            order.took(queue, count)
            came += [queue] * count
        exchange += 1
    return came


def all_of(order: Order) -> str:
    return "".join(order.tiers[0])


# Weighted ----------------------------------------------------------------------------------------


@given(priorities(least=1), ROOMS)
def test_over_ten_thousand_takes_every_queue_gets_its_share(wanted: dict[str, int], rooms: list[int]) -> None:
    order = weighted(wanted)

    came = Counter(serve(order, all_of(order), TAKES, rooms))

    for queue, priority in wanted.items():
        share = TAKES * priority / sum(wanted.values())
        # Nobody can have a part of a task, which for the least of shares is more than the tolerance.
        assert abs(came[queue] - share) <= max(share * TOLERANCE, 1)


@given(priorities(), ROOMS)
def test_no_queue_waits_longer_than_its_share_says(wanted: dict[str, int], rooms: list[int]) -> None:
    order = weighted(wanted)

    came = serve(order, all_of(order), TAKES, rooms)

    total = sum(max(1, priority) for priority in wanted.values())
    for queue, priority in wanted.items():
        turns = [-1, *(n for n, name in enumerate(came) if name == queue), TAKES]
        longest = max(after - before for before, after in pairwise(turns))
        # Within an exchange the order is the exchange's, hence what the rooms add; and one each for rounding.
        assert longest <= 2 * total / max(1, priority) + 2 * max(rooms) + len(wanted)


@pytest.mark.parametrize("priority", [0, -1, -1_000_000])
def test_a_priority_below_one_is_the_least_share_and_not_none(priority: int) -> None:
    order = weighted({"a": 9, "b": priority})

    assert Counter(serve(order, "ab", 100)) == {"a": 90, "b": 10}


def test_shares_come_smoothly_and_not_in_bursts() -> None:
    order = weighted({"a": 9, "b": 1, "c": 5})

    came = serve(order, "abc", 150)

    assert max(len(list(run)) for _, run in groupby(came)) <= 2
    assert "b" in came[:15]


def test_a_weight_beyond_all_measure_does_not_lose_the_small_steps() -> None:
    order = weighted({"a": 10**18, "b": 1, "c": 1})
    serve(order, "bc", 1_000)

    came = serve(order, "abc", 1_000)

    assert Counter(came)["a"] >= 998


def test_several_slots_are_split_over_the_queues_in_one_go() -> None:
    order = weighted({"a": 3, "b": 1})

    assert order.split("ab", 32) == {"a": 24, "b": 8}


def test_a_plan_changes_nothing_until_something_was_taken() -> None:
    order = weighted({"a": 3, "b": 1})

    plans = [order.split("ab", 5) for _ in range(3)]

    assert plans[0] == plans[1] == plans[2]


# Queues that are empty now and then --------------------------------------------------------------


@given(
    priorities(least=1, most=20),
    ROOMS,
    st.lists(st.sampled_from("abcdef"), max_size=30),
)
def test_among_the_others_the_shares_hold_whichever_queues_are_empty_for_a_time(
    wanted: dict[str, int], rooms: list[int], empty: list[str]
) -> None:
    order = weighted(wanted)
    queues = all_of(order)
    for without in [queue for queue in empty if queue in queues]:
        for queue, count in order.split(queues, rooms[0]).items():
            order.took(queue, 0 if queue == without else count)
        order.rest(without)
        serve(order, queues.replace(without, ""), 50, rooms)

    came = Counter(serve(order, queues, TAKES, rooms))

    for queue, priority in wanted.items():
        share = TAKES * priority / sum(wanted.values())
        assert abs(came[queue] - share) <= max(share * TOLERANCE, 2 * max(rooms))


@pytest.mark.parametrize("room", [1, 100])
def test_a_queue_that_was_long_empty_does_not_crowd_the_others_out_when_it_is_back(room: int) -> None:
    order = weighted({"a": 1, "b": 1})
    order.rest("b")
    serve(order, "a", 1_000)

    came = serve(order, "ab", 100, (room,))

    assert Counter(came) == {"a": 50, "b": 50}
    assert room > 1 or "b" in came[:2]


def test_nothing_is_saved_up_either_while_all_queues_are_empty() -> None:
    order = weighted({"a": 1, "b": 1})
    order.rest("b")
    serve(order, "a", 1_000)
    order.rest("a")

    order.took("b", 1)
    came = serve(order, "ab", 100)

    assert Counter(came) == {"a": 50, "b": 50}


@pytest.mark.parametrize(("flighty", "steady"), [(1, 1), (9, 1), (1, 9)])
def test_a_queue_that_is_empty_after_each_task_gets_what_one_that_stays_would(
    flighty: int, steady: int
) -> None:
    order = weighted({"flighty": flighty, "steady": steady})
    came: Counter[str] = Counter()
    for _ in range(900):
        # Found empty whenever it is asked, which is when its task arrives, to be taken out of turn.
        order.took("flighty", 1)
        came["flighty"] += 1
        for _ in range(steady + 1):
            if "flighty" in order.split(["flighty", "steady"], 1):
                break
            order.took("steady", 1)
            came["steady"] += 1
        order.took("flighty", 0)
        order.rest("flighty")

    assert came["steady"] == pytest.approx(900 * steady / flighty, rel=TOLERANCE)


# Strict ------------------------------------------------------------------------------------------


def test_strict_puts_each_priority_behind_all_higher_ones() -> None:
    order = strict({"low": 1, "high": 9, "off": 0, "below": -1, "also-high": 9})

    assert order.tiers == (("high", "also-high"), ("low",), ("off",), ("below",))


@given(NAMES, ROOMS)
def test_equals_take_turns_whatever_their_names_are(names: str, rooms: list[int]) -> None:
    order = strict(dict.fromkeys(names, 7))

    came = Counter(serve(order, names, 600, rooms))

    assert max(came.values()) - min(came.values()) <= 1


def test_a_queue_alone_gets_all_the_room() -> None:
    assert strict({"a": 2, "b": 1}).split(["b"], 40) == {"b": 40}


def test_every_word_of_the_setting_is_a_strategy() -> None:
    kind = OPTION_OF_PATH["worker.queue_strategy"].kind

    assert isinstance(kind, Choice)
    assert set(kind.words) == set(STRATEGIES)
