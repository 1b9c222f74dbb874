"""The scenarios themselves: all of them hold, and each of them can fail."""

import json
import re
from pathlib import Path

import pytest

from harness.scenarios import catalogue
from harness.scenarios.scenario import GROUPS, RUNTIMES, Scenario
from tests.integration.program import program

#: For a machine that has other things to do; alone it takes a minute.
TIMEOUT_S = 1200

pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)

EVERY = catalogue.every()


def played(folder: Path, *arguments: str) -> str:
    with program(folder / "run", "e2e", "--json", str(folder / "json"), *arguments) as e2e:
        status = e2e.process.wait(TIMEOUT_S)
        leftovers = e2e.leftovers()
    assert status == 0, e2e.said()
    assert leftovers == []
    assert e2e.err == ""
    return e2e.out


def test_every_scenario_holds_for_workers_as_processes(tmp_path: Path) -> None:
    out = played(tmp_path, "--runtime", "process", "--short")
    outcomes = json.loads((tmp_path / "json").read_text())["scenarios"]
    assert {each["name"] for each in outcomes} == {each.name for each in EVERY if each.length != "long"}
    assert len(out.splitlines()) == len(outcomes) + 1, out


@pytest.mark.image
def test_a_handful_holds_for_workers_as_containers(tmp_path: Path, image: str) -> None:
    out = played(tmp_path, "--image", image, "--short")
    assert len(re.findall(r"^ok ", out, re.MULTILINE)) >= 4, out


def test_every_mutant_is_caught_for_the_reason_it_was_made_for(tmp_path: Path) -> None:
    out = played(tmp_path, "--runtime", "process", "--short", "--mutants", "--jobs", "8")
    mutants = [mutation for each in EVERY if each.length != "long" for mutation in each.mutations]
    assert f"{len(mutants)} played on the process runtime" in out


@pytest.mark.parametrize("scenario", EVERY, ids=lambda scenario: scenario.name)
def test_a_scenario_says_what_it_claims_and_has_a_mutant(scenario: Scenario) -> None:
    assert scenario.group in GROUPS
    assert re.fullmatch(r"[A-Z0-9].{10,105}\.", scenario.claim), scenario.claim
    assert scenario.mutations
    assert len({mutation.name for mutation in scenario.mutations}) == len(scenario.mutations)
    assert all(mutation.red for mutation in scenario.mutations), "any failure would do"
    assert set(scenario.runtimes) <= set(RUNTIMES)
