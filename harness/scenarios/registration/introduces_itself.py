"""The worker introduces itself once for each parent queue, with its key, host, system and version."""

import platform

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=30,
    mutations=[
        Mutation("asks again", red="registrations", env={"RUNQY_QUEUES": "inference,other"}),
        Mutation("no key", red="while waiting for a task process", env={"RUNQY_API_KEY": "another-key"}),
    ],
)
def play(scene: Scene) -> None:
    # given a parent with two sub-queues, and another parent that is not asked for
    scene.handler("echo", sub_queues={"high": 9, "low": 1})
    scene.handler("echo", parent="other")
    # when
    scene.worker("inference.high,inference.low")
    # then
    requests = scene.server.requests_to("/worker/register")
    expect.equal("registrations", len(requests), 1)
    told = requests[0].body
    expect.equal("queue", told["queue"], "inference")
    expect.equal("os", told["os"], platform.system().lower())
    expect.true("hostname and version are told", told["hostname"] and told["version"], told)
