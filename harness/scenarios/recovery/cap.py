"""No restart waits longer than the longest delay."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.scenarios.short_lived import CRASHES, STARTUP, pauses


@scenario(
    budget_s=40,
    mutations=[Mutation("no cap", red="pauses", env={"RUNQY_RECOVERY_MAX_DELAY": "5m"})],
)
def play(scene: Scene) -> None:
    # given a process that always dies, and a cap far below what doubling leads to
    scene.handler(CRASHES, startup_cmd=STARTUP)
    # when
    scene.worker(
        RUNQY_RECOVERY_INITIAL_DELAY="1s", RUNQY_RECOVERY_MAX_DELAY="1500ms", RUNQY_RECOVERY_MAX_RESTARTS="4"
    )
    scene.expect_restarts(1, 1.5, 1.5, 1.5)
    scene.until(lambda: len(scene.diary().of("crash")) == 5, "the last crash", 25)
    # then
    expect.waits("pauses between crash and start", pauses(scene.diary()), [1, 1.5, 1.5, 1.5], within=0.15)
