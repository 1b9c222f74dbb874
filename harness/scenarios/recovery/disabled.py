"""Without recovery the first crash is the last: no restart, degraded at once."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.scenarios.short_lived import CRASHES, STARTUP


@scenario(
    budget_s=30,
    mutations=[Mutation("recovers all the same", red="starts", env={"RUNQY_RECOVERY_ENABLED": "true"})],
)
def play(scene: Scene) -> None:
    # given
    scene.handler(CRASHES, startup_cmd=STARTUP)
    # when
    scene.worker(RUNQY_RECOVERY_ENABLED="false", RUNQY_RECOVERY_MAX_RESTARTS="2")
    scene.degraded()
    # then
    expect.equal("starts", len(scene.diary().of("start")), 1)
    expect.equal("restarts in the heartbeat", scene.recovery()["total_restarts"], 0)
