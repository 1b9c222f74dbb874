"""Several workers on one queue: each task is run by one of them and settled once."""

import io
import json
from collections import Counter
from pathlib import Path

from harness import wait
from harness.bench.rig.figures import OURS
from harness.bench.scaling import run as scale
from harness.bench.scaling.plan import ScalePlan
from harness.bench.scaling.run import ScalingOptions
from harness.queue import asynq
from tests.integration.world import QUEUE, world

WORKERS, TASKS = 4, 16_000
#: As little as gives every figure.
#: So many that they last longer than a look at the clocks of a busy machine takes.
TINY = ScalePlan(workers=(1, 2), tasks_each=6_000, repetitions=1)


def test_tasks_that_four_workers_share_run_once_each_and_are_settled_once(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.serve_sleeper(0)
        workers = [here.worker(RUNQY_CONCURRENCY="8") for _ in range(WORKERS)]
        for worker in workers:
            here.running(worker)

        task_ids = here.seed(TASKS)

        wait.until(
            lambda: here.db.zcard(asynq.key(QUEUE, "completed")) == TASKS,
            120,
            f"{TASKS} completed tasks",
            workers[0].tail,
        )
        assert here.diary.begun == Counter(task_ids)
        assert len(Counter(here.result(task_id) for task_id in task_ids[:: TASKS // 400])) == WORKERS
        assert here.charged(task_ids) == 0
        assert asynq.get_counters(here.db, QUEUE) == {"processed": TASKS, "failed": 0}
        assert (asynq.get_active(here.db, QUEUE), asynq.get_leases(here.db, QUEUE)) == ([], {})
        assert [worker.exit_status for worker in workers] == [None] * WORKERS


def test_scaling_is_measured_and_takes_the_place_of_the_last_time_it_was(tmp_path: Path) -> None:
    out, figures_file, page = io.StringIO(), tmp_path / "figures.json", tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()
    page.write_text("# Benchmarks\n\n## Goals\n\nhigh\n\n## Many workers\n\nof old\n\n## Method\n\ngood\n")

    status = scale.run(out, ScalingOptions(TINY, "runqy-harness bench --scale"), figures_file, page)

    assert status == 0, out.getvalue()
    found = json.loads(figures_file.read_text())
    measured = {(f["who"], f["what"], f["at"]): f["median"] for f in found["figures"]}
    for workers in TINY.workers:
        assert measured[OURS, "tasks/s", workers] > 50
        assert measured[OURS, "tasks", workers] == TINY.tasks_each * workers
        assert 0 <= measured[OURS, "CPU of Redis, %", workers] <= 110
        assert 0 < measured[OURS, "CPU of workers, %", workers] <= 110 * workers
        assert measured[OURS, "takes/task", workers] >= 1
        assert measured[OURS, "commands/task", workers] > 5
    written = page.read_text()
    assert "of old" not in written
    assert written.startswith("# Benchmarks\n\n## Goals\n\nhigh\n\n## Many workers\n\nSeveral")
    assert written.endswith("\n\n## Method\n\ngood\n")
    assert str(tmp_path) not in written


def test_a_worker_that_ends_is_a_row_less_and_a_failure_said(tmp_path: Path) -> None:
    out, page = io.StringIO(), tmp_path / "page.md"
    broken = ScalingOptions(TINY, "runqy-harness bench --scale", worker_command=("false",))

    status = scale.run(out, broken, None, page)

    assert status == 1
    assert "- Not measured: 1 worker: ours-1 ended with exit status 1" in page.read_text()
