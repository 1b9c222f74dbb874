"""Workers with a bug each: the checker finds every one of them, and nothing in the worker that has none."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness import wait
from harness.faults import disk
from harness.sandbox import guard
from tests.chaos.mutants import MUTANTS
from tests.integration.program import end_all
from tests.machine import left_out_where_nothing_can_be_mounted

#: Seconds until one has run: more than its run may take, which says more.
_PATIENCE_S = 900
#: How often a mutant is tried that meets what it does wrong on a machine too busy to tell.
_TRIALS = 3


class Trials:
    """Mutants, each in runs of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, list[subprocess.Popen[str]]] = {}

    def start(self, name: str) -> None:
        before = self._started.setdefault(name, [])
        folder = self._folder / f"{name.replace(' ', '-')}-{len(before)}"
        before.append(
            subprocess.Popen(
                guard.bound_to_us([sys.executable, "-m", "tests.chaos.try_mutant", name, str(folder)]),
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # Linux shares processors among sessions: in ours all of these would have the part of one of
                # the workers that they start.
                start_new_session=True,
            )
        )

    def has_ended(self, name: str) -> bool:
        """The last one of this mutant."""
        return self._started[name][-1].poll() is not None

    def result(self, name: str) -> dict[str, Any]:
        """What the last one of this mutant came to."""
        said, complaints = self._started[name][-1].communicate(timeout=_PATIENCE_S)
        assert said, complaints
        result: dict[str, Any] = json.loads(said)
        return result

    def close(self) -> None:
        processes = [each for several in self._started.values() for each in several]
        end_all(processes)
        for process in processes:
            process.communicate()


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """All of them at once: they wait most of the time."""
    with closing(Trials(tmp_path_factory.mktemp("mutants"))) as started:
        for name in MUTANTS:
            started.start(name)
        yield started


@pytest.mark.timeout((_PATIENCE_S + 60) * _TRIALS)
@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.violates])
def test_the_checker_catches_a_worker_that(name: str, trials: Trials) -> None:
    result = trials.result(name)
    for _ in range(1, _TRIALS):
        # A machine that holds up a run excuses leases that ran out in it.
        if _is_caught(name, result) or not result["of_the_machine_s"]:
            break
        trials.start(name)
        result = trials.result(name)
    assert _is_caught(name, result), result


def test_it_finds_nothing_in_the_worker_that_has_no_bug(trials: Trials) -> None:
    assert trials.result("sound")["violations"] == []


def test_a_run_that_is_ended_leaves_nothing_mounted(tmp_path: Path) -> None:
    with left_out_where_nothing_can_be_mounted(), disk.small_disk(tmp_path / "disk", 2**20):
        pass
    mounts = Path("/proc/self/mounts")

    with closing(Trials(tmp_path)) as trials:
        trials.start("sound")
        wait.until(
            lambda: str(tmp_path) in mounts.read_text() or trials.has_ended("sound"),
            300,
            "a file system to be mounted",
        )
        assert not trials.has_ended("sound"), trials.result("sound")

    assert str(tmp_path) not in mounts.read_text()


def _is_caught(name: str, result: Mapping[str, Any]) -> bool:
    return any(each["invariant"].startswith(MUTANTS[name].violates) for each in result["violations"])
