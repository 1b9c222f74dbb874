"""A run as long as the cooldown period forgets the crashes before it: the next wait is the first again."""

import signal

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.scenarios.short_lived import IDLES, STARTUP, pauses


@scenario(
    budget_s=60,
    mutations=[
        Mutation("never forgets", red="4 processes to be ready", env={"RUNQY_RECOVERY_COOLDOWN": "10m"})
    ],
)
def play(scene: Scene) -> None:
    # given restarts for two crashes in a row, and a process that dies when it is told
    scene.handler(IDLES, startup_cmd=STARTUP)
    worker = scene.worker(
        RUNQY_RECOVERY_INITIAL_DELAY="1s", RUNQY_RECOVERY_MAX_RESTARTS="2", RUNQY_RECOVERY_COOLDOWN="4s"
    )
    # when two crashes are followed by a run of more than the cooldown, and two more crashes
    scene.expect_restarts(1, 2, 1, 2)
    for crash in range(1, 5):
        scene.signal_task_process(worker, signal.SIGTERM)
        scene.ready(crash + 1, timeout_s=8)
        if crash == 2:
            scene.stays(lambda: len(scene.diary().of("start")) == 3, "the third process runs", 5.5)
    # then waits began again at the first one after it, and restarts were there for all four
    expect.waits("pauses between crash and start", pauses(scene.diary()), [1, 2, 1, 2], within=0.15)
