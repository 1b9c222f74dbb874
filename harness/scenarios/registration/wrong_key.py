"""A wrong key ends the worker at once: asking again would not make it right."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.server.keys import Keys


@scenario(
    budget_s=20,
    mutations=[Mutation("let in all the same", red="to end", env={"RUNQY_API_KEY": Keys().worker})],
)
def play(scene: Scene) -> None:
    # given
    scene.handler("echo")
    scene.complaints_expected = True
    # when
    worker = scene.worker(ready=False, RUNQY_API_KEY="canary-wrong", RUNQY_BOOTSTRAP_RETRIES="5")
    status = scene.exit_status(worker, 8)
    # then
    expect.true("the exit status says so", status != 0, status)
    expect.equal("registrations", len(scene.server.requests_to("/worker/register")), 1)
    expect.true("the key is in no log", "canary-wrong" not in worker.log_text())
