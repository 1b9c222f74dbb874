"""One worker serves several parent queues, each with its own code and process."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=40,
    mutations=[Mutation("serves one only", red="to be completed", env={"RUNQY_QUEUES": "alpha"})],
)
def play(scene: Scene) -> None:
    # given two parents, one of which dies of a task
    scene.handler("echo", parent="alpha")
    scene.handler("crash_on_poison", parent="beta")
    scene.worker("alpha,beta")
    # when both have work, and the process of one keeps dying
    scene.send({"poison": True}, queue="beta.default")
    good = [*scene.send({"n": 1}, queue="alpha.default"), *scene.send({"n": 2}, queue="beta.default")]
    # then both do it
    scene.ended(good)
    requests = [request.body["queue"] for request in scene.server.requests_to("/worker/register")]
    expect.equal("registrations", sorted(requests), ["alpha", "beta"])
