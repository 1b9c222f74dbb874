"""Restarts wait 1, 2, 4, 8 and 16 times the initial delay."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.scenarios.short_lived import CRASHES, STARTUP, pauses


@scenario(
    budget_s=60,
    mutations=[
        Mutation("factor 1", red="pauses", env={"RUNQY_RECOVERY_BACKOFF_FACTOR": "1"}),
        Mutation("half the delay", red="pauses", env={"RUNQY_RECOVERY_INITIAL_DELAY": "500ms"}),
    ],
    length="smoke",
)
def play(scene: Scene) -> None:
    # given a process that dies as soon as it is ready
    scene.handler(CRASHES, startup_cmd=STARTUP)
    # when it is started again until restarts are used up
    scene.worker(RUNQY_RECOVERY_INITIAL_DELAY="1s", RUNQY_RECOVERY_MAX_RESTARTS="5")
    scene.expect_restarts(1, 2, 4, 8, 16)
    scene.until(lambda: len(scene.diary().of("crash")) == 6, "the last crash", 45)
    # then each wait was twice the one before
    expect.waits("pauses between crash and start", pauses(scene.diary()), [1, 2, 4, 8, 16], within=0.15)
