"""Progress of the real SDK's tasks: kept while they run, read by the harness, with their output by task."""

import time

import pytest
import redis

from harness import wait
from harness.commands import queues, tasks
from harness.queue import asynq
from harness.queue.inspector import Inspector
from harness.queue.strict import reader
from harness.sandbox.sdk import sdk_requirement
from tests.integration.world import QUEUE, World

#: Says how far it is, as the pages show it, and waits for a word between its steps.
HANDLER = """
import json, pathlib, time
from runqy_python import run, task

@task
def handle(payload):
    print("begin", payload["name"])
    print(json.dumps({"progress": {"of": payload["name"], "done": 1}}))
    while not pathlib.Path(payload["go"]).exists():
        time.sleep(0.01)
    print(json.dumps({"progress": {"of": payload["name"], "done": 2}}))
    if payload.get("error"):
        raise ValueError("broken")
    return payload["name"]

run()
"""


def progress(db: redis.Redis, task_id: str) -> object:
    found = Inspector(db).task(task_id).progress
    return found and found.value


def test_the_progress_and_the_output_of_sdk_tasks_are_theirs(world: World) -> None:
    go = world.folder / "go"
    files = {"main.py": HANDLER, "requirements.txt": sdk_requirement(world.folder / "wheels") + "\n"}
    world.serve(files)
    (first,) = world.seed(1, {"name": "first", "go": str(go)})
    others = [
        *world.seed(1, {"name": "failing", "go": str(go), "error": True}),
        *(world.seed(1, {"name": f"quick {number}", "go": str(go)})[0] for number in range(5)),
    ]
    worker = world.worker()
    wait.until(lambda: progress(world.db, first) == {"of": "first", "done": 1}, 120, "progress", worker.tail)
    begun_s = time.time()
    shown = Inspector(world.db).task(first)
    assert (shown.state, shown.attempt) == ("active", 1)
    assert shown.progress is not None
    assert shown.progress.attempt == 1
    assert shown.progress.at_s <= begun_s + 1

    go.touch()

    # What is said right before the answer is not the next task's, nor lost.
    world.completed(6, worker, 60)
    for task_id, name in zip(
        [first, *others], ["first", "failing", *map("quick {}".format, range(5))], strict=True
    ):
        done = {"of": name, "done": 2}
        wait.until(
            lambda task_id=task_id, done=done: progress(world.db, task_id) == done,  # type: ignore[misc]
            30,
            f"the last progress of {name}",
            lambda task_id=task_id: f"{Inspector(world.db).task(task_id)}",  # type: ignore[misc]
        )
    assert asynq.where_is(world.db, QUEUE, others[0]) == "archived"
    (failure,) = Inspector(world.db).task(others[0]).failures
    assert "ValueError: broken" in failure.error
    assert failure.worker_id == shown.worker_id
    lines = wait.until(
        lambda: [line.text for line in Inspector(world.db).output(task_id=first)], 30, "lines", worker.tail
    )
    assert lines[0] == "begin first"


def test_a_real_worker_does_what_the_command_line_says(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNQY_REDIS_URL", world.redis.url)
    world.serve("raw_sleep")
    held, waiting = world.seed(1, {"seconds": 600})[0], world.seed(1, {"seconds": 0})[0]
    worker = world.worker()
    wait.until(lambda: asynq.get_state(world.db, QUEUE, held) == "active", 60, "the task to run", worker.tail)

    # What is paused is not taken when the slot is free again.
    assert queues.run(["pause", QUEUE]) == 0
    assert tasks.run(["cancel", held, "--yes", "--wait-timeout", "60"]) == 0
    assert capsys.readouterr().out.endswith(f"{held}  cancelled, and archived now\n")
    assert queues.run(["drain", "inference", "--wait-timeout", "60"]) == 0
    assert asynq.where_is(world.db, QUEUE, waiting) == "pending"

    # What was archived runs again when it is told to, and what was resumed is taken.
    assert tasks.run(["archive", waiting]) == 0
    assert queues.run(["resume", "inference"]) == 0
    assert tasks.run(["retry", waiting]) == 0
    world.completed(1, worker, 60)
    assert asynq.where_is(world.db, QUEUE, waiting) == "completed"
    assert tasks.run(["delete", waiting, held, "--yes"]) == 0
    assert [str(each) for each in reader.read(world.db)] == []
