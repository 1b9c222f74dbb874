"""How outcomes are judged, without a worker."""

import pytest

from harness.e2e.play import Outcome, judged, merged
from harness.scenarios.scenario import Mutation

MUTANT = Mutation("slow", red="pauses")


@pytest.mark.parametrize(
    ("passed", "problem", "good", "words"),
    [
        (False, "pauses: saw [1], expected [2]", True, ""),
        (False, "the worker ended with status 2", False, "for another reason than 'pauses'"),
        (True, "", False, "the mutant was not caught"),
    ],
)
def test_a_mutant_must_fail_and_for_its_own_reason(
    passed: bool, problem: str, good: bool, words: str
) -> None:
    outcome = judged(Outcome("n", "c", passed, 1.0, problem), MUTANT)
    assert outcome.passed is good
    assert words in outcome.problem
    assert bool(outcome.problem) is not good


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({}, {"a": {"b": 1, "c": 2}, "l": [1]}),
        ({"a": {"b": None}}, {"a": {"c": 2}, "l": [1]}),
        ({"a": None, "l": [2, 3]}, {"l": [2, 3]}),
        ({"l": {"x": 1}, "new": {"y": None}}, {"a": {"b": 1, "c": 2}, "l": {"x": 1}, "new": {}}),
    ],
)
def test_a_registration_is_altered_by_a_merge_patch(patch: dict, expected: dict) -> None:
    assert merged({"a": {"b": 1, "c": 2}, "l": [1]}, patch) == expected
