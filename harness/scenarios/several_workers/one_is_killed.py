"""What a killed worker had is back in work when its leases have run out, one retry charged, nothing lost."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene

#: Long enough for the other one to keep its own on a busy machine.
_LEASE_S = 5


@scenario(
    budget_s=60,
    mutations=[Mutation("leases for ever", red="to be completed", env={"RUNQY_LEASE_DURATION": "10m"})],
)
def play(scene: Scene) -> None:
    # given two workers at work
    scene.handler("sleep")
    first, _ = (scene.worker(RUNQY_CONCURRENCY="2", RUNQY_LEASE_DURATION=f"{_LEASE_S}s") for _ in range(2))
    ids = scene.send({"seconds": 0.5}, count=16)
    scene.until(lambda: scene.diary(first).of("begin"), "the first to begin a task")
    # when one is killed
    with scene.fault("kill -9", first.name):
        first.kill()
        scene.exit_status(first)
    # then all is done by the other, soon after the leases ran out
    scene.ended(ids, timeout_s=_LEASE_S + 5 + 8)
    charged = sum(scene.retried(ids))
    expect.between("retries charged", charged, 1, 2)
