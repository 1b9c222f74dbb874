"""What arrives while the process is down is served after it, with no retry spent."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=40,
    mutations=[
        Mutation("never comes back", red="the worker to wait", env={"RUNQY_RECOVERY_ENABLED": "false"})
    ],
)
def play(scene: Scene) -> None:
    # given a process that was killed, and a wait of some seconds
    scene.handler("sleep")
    worker = scene.worker(RUNQY_RECOVERY_INITIAL_DELAY="10s")
    scene.signal_task_process(worker)
    scene.until(lambda: scene.recovery().get("state") == "recovering", "the worker to wait", 5)
    # when tasks arrive meanwhile
    ids = scene.send(count=10)
    scene.stays(lambda: set(scene.places(ids)) == {"pending"}, "nothing is taken", 1)
    # then
    scene.ended(ids)
    expect.equal("retries charged", scene.retried(ids), [0] * 10)
