"""What a deployment changes, decided before it touches anything."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from appliance.deploy.plan import (
    Checkout,
    EnvironmentFacts,
    EnvironmentRecord,
    can_stay,
    plan_checkout,
    plan_environment,
    read_checkout,
    read_environment,
    to_record,
)

THERE = Checkout("https://git.test/r.git", "main", "a", "c0ffee")
FACTS = EnvironmentFacts("/usr/bin/python3.11", "cpython 3.11.2", "linux-x86_64", True, "pip")


@pytest.mark.parametrize(
    ("found", "head", "url", "code_path", "step", "reason"),
    [
        (None, None, THERE.url, "a", "clone", "there is no finished clone"),
        (THERE, "c0ffee", "https://git.test/x.git", "a", "clone", "was https://git.test/r.git"),
        (THERE, "c0ffee", THERE.url, "b", "clone", "the folder was a"),
        (
            dataclasses.replace(THERE, code_path=""),
            "c0ffee",
            THERE.url,
            "b",
            "clone",
            "the whole repository",
        ),
        (THERE, None, THERE.url, "a", "clone", "damaged"),
        (THERE, "c0ffee", THERE.url, "a", "update", "the clone is there"),
        (THERE, "another", THERE.url, "a", "update", "the clone is there"),
    ],
)
def test_a_clone_is_updated_where_it_can_be_and_made_anew_where_not(
    found: Checkout | None, head: str | None, url: str, code_path: str, step: str, reason: str
) -> None:
    decided, why = plan_checkout(found, head, url, code_path)

    assert decided.value == step
    assert reason in why


@pytest.mark.parametrize(
    ("url", "ref", "code_path", "stays"),
    [
        (THERE.url, "main", "a", True),
        ("other", "main", "a", False),
        (THERE.url, "other", "a", False),
        (THERE.url, "main", "", False),
    ],
)
def test_only_the_same_thing_stands_in_for_a_remote_that_is_away(
    url: str, ref: str, code_path: str, stays: bool
) -> None:
    assert can_stay(THERE, url, ref, code_path) is stays


def test_an_environment_is_made_anew_for_each_of_its_facts_that_changed_and_the_reason_names_it() -> None:
    for field in dataclasses.fields(FACTS):
        other: Any = False if field.type is bool else "other"
        changed = dataclasses.replace(FACTS, **{field.name: other})
        found = EnvironmentRecord(FACTS, "deps")

        step, why = plan_environment(found, works=True, wanted=changed, dependencies="deps")

        assert step.value == "rebuild"
        assert why == f"{field.name} was {getattr(FACTS, field.name)}"


@pytest.mark.parametrize(
    ("found", "works", "step", "reason"),
    [
        (None, True, "rebuild", "there is no finished environment"),
        (EnvironmentRecord(FACTS, "deps"), False, "rebuild", "its interpreter does not run"),
        (EnvironmentRecord(FACTS, ""), True, "install", "dependencies were not installed to the end"),
        (EnvironmentRecord(FACTS, "others"), True, "install", "dependencies changed"),
        (EnvironmentRecord(FACTS, "deps"), True, "keep", "nothing changed"),
    ],
)
def test_an_environment_is_filled_again_only_for_a_reason(
    found: EnvironmentRecord | None, works: bool, step: str, reason: str
) -> None:
    decided, why = plan_environment(found, works=works, wanted=FACTS, dependencies="deps")

    assert (decided.value, why) == (step, reason)


def test_records_are_read_as_they_were_written() -> None:
    environment = EnvironmentRecord(FACTS, "deps")

    assert read_checkout(json.loads(json.dumps(to_record(THERE)))) == THERE
    assert read_environment(json.loads(json.dumps(to_record(environment)))) == environment


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: None,
        lambda record: [record, record],
        lambda record: {},
        lambda record: {**record, "more": "1"},
        lambda record: dict(list(record.items())[1:]),
        dict.fromkeys,
        lambda record: dict.fromkeys(record, 1),
    ],
)
def test_any_other_record_is_none(spoil: Callable[[dict[str, Any]], object]) -> None:
    environment = to_record(EnvironmentRecord(FACTS, "deps"))

    assert read_checkout(spoil(to_record(THERE))) is None
    assert read_environment(spoil(environment)) is None
    assert read_environment({**environment, "made_from": spoil(environment["made_from"])}) is None
