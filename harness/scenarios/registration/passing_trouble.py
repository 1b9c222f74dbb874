"""What may pass is tried again, as often and as far apart as configured."""

from itertools import pairwise

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.server.faults import Fault


@scenario(
    budget_s=30,
    mutations=[
        Mutation("gives up", red="while waiting for a task process", env={"RUNQY_BOOTSTRAP_RETRIES": "1"}),
        Mutation("does not wait", red="seconds between", env={"RUNQY_BOOTSTRAP_RETRY_DELAY": "10ms"}),
    ],
)
def play(scene: Scene) -> None:
    # given a server that is not itself at first
    scene.handler("echo")
    scene.server.faults.add("/worker/register", Fault(status=503, times=2))
    # when
    scene.worker(RUNQY_BOOTSTRAP_RETRIES="3", RUNQY_BOOTSTRAP_RETRY_DELAY="1500ms")
    # then
    requests = scene.server.requests_to("/worker/register")
    expect.equal("registrations", len(requests), 3)
    for before, after in pairwise(requests):
        expect.took("seconds between", after.at_wall_s - before.at_wall_s, 1.45, 4)
