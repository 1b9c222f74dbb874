"""A task that outlasts the shutdown timeout goes back to the queue, uncharged, for the next worker."""

import time

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=50,
    mutations=[
        Mutation("waits for ever", red="to end", env={"RUNQY_SHUTDOWN_TIMEOUT": "10m"}),
        Mutation("deaf", red="to end", wrapper=("harness.mutants.deaf", "TERM")),
    ],
)
def play(scene: Scene) -> None:
    # given a task that runs for longer than a stop waits
    scene.handler("sleep")
    worker = scene.worker(RUNQY_SHUTDOWN_TIMEOUT="1s")
    (task_id,) = scene.send({"seconds": 60})
    scene.until(lambda: scene.diary().begun[task_id], "the task to begin")
    # when
    asked_s = time.monotonic()
    worker.terminate()
    status = scene.exit_status(worker)
    # then
    expect.took("seconds until it ended", time.monotonic() - asked_s, 0.9, 9)
    expect.equal("exit status", status, 0)
    expect.equal("where the task is", scene.places([task_id]), ["pending"])
    expect.equal("retries charged", scene.retried([task_id]), [0])
    # and the next worker takes it
    scene.worker()
    scene.until(lambda: scene.diary().begun[task_id] == 2, "the next worker to begin it")
