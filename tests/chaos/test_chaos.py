"""A short run of chaos by its command, as `make chaos` has it."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from harness import cli
from harness.chaos import plan
from harness.chaos.world import RunOptions, World
from harness.evidence.invariants import INVARIANTS
from harness.evidence.timeline import Timeline
from tests.integration.program import Program, program


def chaos(folder: Path, *arguments: str) -> Program:
    with program(folder / "run", "chaos", *arguments) as run:
        run.process.wait(800)
    assert run.leftovers() == []
    return run


def test_a_seeded_run_keeps_every_invariant_and_says_what_was_done(tmp_path: Path) -> None:
    asked = ("--seed", "6", "--duration", "8s", "--workers", "2")
    told = chaos(tmp_path, *asked, "--round-trip", "20ms", "--report", str(tmp_path / "report"))

    assert told.process.returncode == 0, told.said()
    assert f"✓ seed 6: all {len(INVARIANTS)} invariants hold" in told.out
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    tasks = summary["tasks"]
    assert tasks["completed"] + tasks.get("archived", 0) == tasks["sent"] > 50
    assert sum(summary["faults"].values()) >= 6
    assert summary["violations"] == []
    assert summary["again"] == f"runqy-harness chaos {' '.join(asked)} --round-trip 20ms"
    timeline = Timeline.read(tmp_path / "report" / "timeline.jsonl")
    began, ended = timeline.of("fault.began"), timeline.of("fault.ended")
    assert len(began) == len(ended) > 0
    assert len(timeline.of("diary.begin")) == summary["runs"]


def test_redis_is_as_far_from_every_worker_as_was_asked_for(tmp_path: Path) -> None:
    options = RunOptions(plan.make(1, 1.0, 2), tmp_path, round_trip_s=0.2)
    with ExitStack() as stack:
        world = World(options, Timeline(), stack)
        for link in world.rig.links:
            with redis.Redis.from_url(link.url(world.redis.url)) as far:
                far.ping()  # connects
                begun_s = time.monotonic()
                far.ping()
                assert time.monotonic() - begun_s >= 0.2
        begun_s = time.monotonic()
        world.db.ping()
        assert time.monotonic() - begun_s < 0.2


def test_a_worker_that_does_nothing_is_a_failure_that_names_the_tasks_and_how_to_run_it_again(
    tmp_path: Path,
) -> None:
    idle = tmp_path / "idle.py"
    idle.write_text("import sys; print('not today'); sys.exit(4)\n")

    worker = ("--worker", f"{sys.executable} {idle}")
    told = chaos(tmp_path, "--seed", "1", "--duration", "1s", "--workers", "1", *worker)

    assert told.process.returncode == 1
    assert "a worker ended before anything was done to it" in told.err
    assert "not today" in told.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--duration", "soon"], "--duration: 'soon': expected a length of time such as 30s or 2m"),
        (["--seed", "x"], "--seed: 'x': expected a whole number, 0 or more"),
        (["--round-trip", "20"], "--round-trip: '20': expected a length of time such as 30s or 2m"),
        (["--workers", "0"], "--workers: '0': expected a whole number from 1 to 20"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["chaos", *arguments])

    assert ended.value.code == 2
    assert capsys.readouterr().err == f"runqy-harness chaos: {complaint}\n"
