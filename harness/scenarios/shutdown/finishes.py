"""SIGTERM lets the running task finish; then the worker ends with status 0 and leaves no process behind."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=40,
    mutations=[
        Mutation("deaf", red="to end", wrapper=("harness.mutants.deaf", "TERM")),
        Mutation(
            "does not wait",
            red="the running task",
            env={"RUNQY_SHUTDOWN_TIMEOUT": "1ms", "RUNQY_PROCESS_STOP_GRACE": "1ms"},
        ),
    ],
    length="smoke",
)
def play(scene: Scene) -> None:
    # given a task that runs, and one that waits behind it
    scene.handler("sleep")
    worker = scene.worker()
    (running,) = scene.send({"seconds": 4})
    scene.until(lambda: scene.diary().begun[running], "the task to begin")
    (waiting,) = scene.send({"seconds": 60})
    # when
    worker.terminate()
    status = scene.exit_status(worker)
    # then
    expect.equal("where the running task is", scene.places([running]), ["completed"])
    expect.equal("exit status", status, 0)
    expect.equal("where the waiting task is", scene.places([waiting]), ["pending"])
    expect.equal("processes left behind", worker.children(), [])
