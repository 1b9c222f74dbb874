"""Healthy is false while the process is down, and true again when it is back."""

from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.scenarios.short_lived import IDLES, STARTUP


def _healthy(scene: Scene) -> list[str]:
    return [beat["healthy"] for beat in scene.heartbeats()]


@scenario(
    budget_s=50,
    mutations=[
        Mutation("never back", red="healthy again", env={"RUNQY_RECOVERY_ENABLED": "false"}),
        Mutation("never down", red="not healthy", process="outlives"),
    ],
)
def play(scene: Scene) -> None:
    # given
    scene.handler(IDLES, startup_cmd=STARTUP)
    worker = scene.worker(RUNQY_RECOVERY_INITIAL_DELAY="7s")
    scene.until(lambda: _healthy(scene) == ["1"], "the worker to be healthy")
    # when its process dies
    scene.signal_task_process(worker)
    # then
    scene.until(lambda: _healthy(scene) == ["0"], "the worker to be not healthy", 8)
    scene.until(lambda: _healthy(scene) == ["1"], "the worker to be healthy again", 20)
