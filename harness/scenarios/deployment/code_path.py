"""With a code path only that folder of the repository is deployed, and the process works in it."""

from harness.scenarios import expect
from harness.scenarios.deployment.follows_the_branch import code
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=30,
    mutations=[
        Mutation("the wrong folder", red="result", registration={"deployment": {"code_path": "other"}})
    ],
)
def play(scene: Scene) -> None:
    # given two programs in one repository
    files = {f"apps/right/{path}": text for path, text in code("right").items()}
    files |= {f"other/{path}": text for path, text in code("wrong").items()}
    scene.handler(files, code_path="apps/right")
    # when
    scene.worker()
    # then
    expect.equal("result", scene.results(scene.send()), ["right"])
