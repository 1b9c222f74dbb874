"""A stop interrupts the longest wait for a restart at once."""

import time

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.scenarios.short_lived import CRASHES, STARTUP


@scenario(
    budget_s=30,
    mutations=[Mutation("deaf", red="to end", wrapper=("harness.mutants.deaf", "TERM"))],
)
def play(scene: Scene) -> None:
    # given a worker that waits for a minute until its next restart
    scene.handler(CRASHES, startup_cmd=STARTUP)
    worker = scene.worker(RUNQY_RECOVERY_INITIAL_DELAY="1m")
    scene.until(lambda: scene.recovery().get("state") == "recovering", "the worker to wait")
    # when
    asked_s = time.monotonic()
    worker.terminate()
    status = scene.exit_status(worker, 8)
    # then
    expect.took("seconds until it ended", time.monotonic() - asked_s, 0, 2)
    expect.equal("exit status", status, 0)
