"""A sub-queue the server does not know is left out; where none is left the worker does not start."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=40,
    mutations=[Mutation("takes what there is", red="to end", env={"RUNQY_QUEUES": "inference"})],
)
def play(scene: Scene) -> None:
    # given
    scene.handler("echo", sub_queues={"high": 9})
    # when none of the names is right
    worker = scene.worker("inference.nowhere", ready=False)
    # then
    expect.true("the exit status says so", scene.exit_status(worker) != 0)
    # when one is
    scene.worker("inference.nowhere,inference.high")
    # then that one is served
    scene.ended(scene.send(queue="inference.high"))
    expect.equal("queues served", [beat["queues"] for beat in scene.heartbeats()], ["map[inference.high:9]"])
