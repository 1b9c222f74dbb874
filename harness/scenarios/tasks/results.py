"""Every task sent with the SDK's client is answered with its own handler's result."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=30,
    mutations=[
        Mutation("results swapped", red="results", process="swap_results"),
        Mutation(
            "results not kept", red="to be completed", registration={"deployment": {"redis_storage": False}}
        ),
    ],
    length="smoke",
)
def play(scene: Scene) -> None:
    # given a handler that is written with the SDK
    scene.handler("echo")
    scene.worker()
    # when
    payloads = [{"number": number, "text": f"grüße {number}"} for number in range(50)]
    answers = scene.results(scene.send(*payloads), timeout_s=10)
    # then
    expect.equal("results", [answer["echo"] for answer in answers], payloads)
