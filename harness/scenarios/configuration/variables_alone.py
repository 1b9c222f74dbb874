"""Variables are enough: the worker serves without any file."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=30,
    mutations=[
        Mutation("looks for a file", red="while waiting for a task process", env={"RUNQY_API_KEY": ""})
    ],
)
def play(scene: Scene) -> None:
    # given
    scene.handler("echo")
    # when
    scene.worker()
    # then
    (answer,) = scene.results(scene.send({"number": 1}))
    expect.equal("result", answer["echo"], {"number": 1})
