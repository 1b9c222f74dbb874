"""What task code does legitimately goes on in its domain; and what ``strict`` leaves of that."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.attack.target import Target, target

#: What it does, in which folder of the target's or with what else.
WORK: Mapping[str, Mapping[str, str]] = {
    "files_in": {"folder": "shared"},
    "between_folders": {"one": "shared", "other": "/tmp"},
    "models_anywhere": {"path": "model"},
    "devices": {},
    "processes": {},
    "threads": {},
    "programs": {},
    "own_program": {},
    "system": {},
    "listing": {"folder": "/"},
    "install": {},
    "home": {},
    "temporary": {},
    "git": {"folder": "shared"},
}
#: What strict takes away of it.
OUTSIDE = {"files_in", "between_folders", "models_anywhere", "git", "listing"}


def _arguments(work: str, at: Target) -> dict[str, Any]:
    places = {"shared": at.shared, "model": at.model}
    return {name: str(places.get(value, value)) for name, value in WORK[work].items()}


@pytest.mark.parametrize("work", WORK)
def test_it_goes_on(work: str, held: Target) -> None:
    outcome = held.attack(f"legitimate.{work}", **_arguments(work, held))

    assert outcome.got == "done", outcome.refused


def test_in_its_own_folder_it_does_what_it_likes(held: Target) -> None:
    assert held.attack("legitimate.files_in", folder=".").got == "done"


def test_the_network_is_not_closed(held: Target) -> None:
    outcome = held.attack("legitimate.sockets", port=held.world.redis.port)

    assert outcome.got == "done", outcome.refused


@pytest.fixture(scope="module")
def strict() -> Iterator[Target]:
    with target(RUNQY_ISOLATION="strict") as running:
        yield running


@pytest.mark.parametrize("work", sorted(WORK.keys() - OUTSIDE))
def test_in_strict_the_work_in_its_own_places_goes_on(work: str, strict: Target) -> None:
    outcome = strict.attack(f"legitimate.{work}", **_arguments(work, strict))

    assert outcome.got == "done", outcome.refused


@pytest.mark.parametrize("work", sorted(OUTSIDE))
def test_in_strict_everything_else_is_closed(work: str, strict: Target) -> None:
    outcome = strict.attack(f"legitimate.{work}", **_arguments(work, strict))

    assert "PermissionError" in outcome.refused or "CalledProcessError" in outcome.refused, outcome


def test_in_strict_what_the_operator_names_is_open(strict: Target) -> None:
    assert strict.attack("legitimate.files_in", folder=str(strict.opened)).got == "done"
