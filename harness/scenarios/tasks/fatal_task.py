"""A task that kills its process is charged one retry and then done; its neighbours are charged nothing."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=40,
    mutations=[
        Mutation("no retries", red="to be completed", env={"RUNQY_MAX_RETRY": "0"}),
        Mutation(
            "gives up at the first crash", red="to be completed", env={"RUNQY_RECOVERY_ENABLED": "false"}
        ),
    ],
)
def play(scene: Scene) -> None:
    # given tasks, one among them with a poison that works once
    scene.handler("crash_on_poison")
    worker = scene.worker()
    once = scene.beside(worker, "poisoned")
    before, (poisoned,), after = (
        scene.send(count=10),
        scene.send({"poison": True, "once": once}),
        scene.send(count=10),
    )
    # when
    scene.ended([*before, poisoned, *after])
    # then
    expect.equal("retries of the poisoned task", scene.retried([poisoned]), [1])
    expect.equal("retries of its neighbours", scene.retried([*before, *after]), [0] * 20)
    expect.equal("processes", len(scene.diary().of("start")), 2)
