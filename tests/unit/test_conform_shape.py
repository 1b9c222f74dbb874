"""Patterns of the contract: what is like one, and the sentence for what is not."""

from typing import Any

import pytest

from harness.conform.shape import (
    ABSENT,
    ANYTHING,
    Among,
    ByAge,
    Each,
    Matches,
    Open,
    Within,
    differences,
    filled,
)
from harness.server.age import Age


def told(pattern: Any, value: Any, age: Age = Age.NEWER) -> list[str]:
    return list(differences(pattern, value, age, "it"))


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        (1, 1),
        (int, 1),
        (str, ""),
        (ANYTHING, None),
        (Matches("^a"), "abc"),
        (Within(1, 2), 2),
        (Each(int), []),
        (Among(1), [2, 1]),
        ([1, str], [1, "x"]),
        ({"a": 1, "b": ANYTHING}, {"a": 1}),
        (Open({"a": 1, "b": ABSENT}), {"a": 1, "c": 2}),
        ({"a": ByAge(ABSENT, 1)}, {"a": 1}),
    ],
    ids=repr,
)
def test_a_value_like_its_pattern_is_no_difference(pattern: Any, value: Any) -> None:
    assert told(pattern, value) == []


@pytest.mark.parametrize(
    ("pattern", "value", "sentence"),
    [
        (1, True, "it is True, expected 1"),
        (int, True, "it is True, expected a whole number"),
        (str, None, "it is None, expected a text"),
        (Matches("^a"), "b", "it is 'b', expected a text like '^a'"),
        (Within(1, 2), 3, "it is 3, expected a number from 1 to 2"),
        (Each(int), [1, "x"], "it[1] is 'x', expected a whole number"),
        (Each(int), "x", "it is 'x', expected a list of a whole number"),
        (Among(1), [2], "it has no entry like 1, but [2]"),
        ([1], [1, 2], "it is [1, 2], expected [1]"),
        ({"a": 1}, {}, "it.a is missing, expected 1"),
        ({"a": 1}, {"a": 1, "b": 2}, "it.b is 2, expected no such member"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "it.a.b is 2, expected 1"),
        (Open({"a": ABSENT}), {"a": 1}, "it.a is 1, expected no such member"),
        (Open({"a": 1}), "x", "it is 'x', expected an object with a"),
        ({"a": ByAge(1, ABSENT)}, {"a": 1}, "it.a is 1, expected no such member"),
    ],
)
def test_what_is_not_like_its_pattern_is_named_with_its_place(
    pattern: Any, value: Any, sentence: str
) -> None:
    assert told(pattern, value) == [sentence]


def test_every_difference_is_told_and_a_long_value_cut() -> None:
    found = told({"a": 1, "b": "x"}, {"a": 2, "b": "y" * 1_000})

    assert len(found) == 2
    assert len(found[1]) < 300


def test_names_are_filled_in_wherever_texts_stand_and_escaped_in_expressions() -> None:
    template = {
        "a": ["{queue}"],
        "b": Open({"c": Matches(r"^{queue}\d{2}$")}),
        "d": ByAge("{queue}", "{other}"),
    }

    pattern = filled(template, {"queue": "q.low"})

    assert told(pattern["b"], {"c": "q.low17"}) == []
    assert told(pattern["b"], {"c": "q-low17"}) != []
    assert pattern["a"] == ["q.low"]
    assert (pattern["d"].older, pattern["d"].newer) == ("q.low", "{other}")
    assert filled(b'{"queue":"{queue}"}', {"queue": "q.low"}) == b'{"queue":"q.low"}'
