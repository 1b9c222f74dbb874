"""Workers with a bug each: the checker finds every one of them, and nothing in the worker that has none."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.mutants import MUTANTS

_PATIENCE_S = 270


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """All of them at once: they wait most of the time."""
    folder = tmp_path_factory.mktemp("mutants")
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.try_mutant", name, str(folder / name.replace(" ", "-"))],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in MUTANTS
    }
    yield started
    for process in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", MUTANTS)
def test_the_checker_catches_a_worker_that(name: str, trials: dict[str, "subprocess.Popen[str]"]) -> None:
    said, complaints = trials[name].communicate(timeout=_PATIENCE_S)

    assert said, complaints
    violated = {violation["invariant"]: violation["what"] for violation in json.loads(said)["violations"]}
    expected = MUTANTS[name].violates
    if expected:
        assert any(invariant.startswith(expected) for invariant in violated), violated
    else:
        assert violated == {}
