"""A task that outlasts its time fails and may be retried; its process is replaced, and work goes on."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=40,
    mutations=[Mutation("no retry", red="to begin again", env={"RUNQY_MAX_RETRY": "0"})],
)
def play(scene: Scene) -> None:
    # given a task that would take a minute and may take one second
    scene.handler("sleep")
    scene.worker()
    (stuck,) = scene.send({"seconds": 60}, timeout_s=1)
    # when its time is over
    scene.until(lambda: scene.diary().begun[stuck] >= 2, "the task to begin again", 15)
    # then it was another process that began it again
    pids = {entry.pid for entry in scene.diary().about(stuck) if entry.event == "begin"}
    expect.true("each run has its own process", len(pids) >= 2, pids)
    expect.true("a retry was charged", scene.retried([stuck])[0] >= 1, scene.retried([stuck]))
    # and no crash was counted
    expect.equal("restarts counted as recovery", scene.recovery().get("state"), "idle")
