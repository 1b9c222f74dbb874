"""Connections that break and scripts that are forgotten cost no task a retry or a second run."""

from harness.faults import redis as faults
from harness.scenarios.disowned import disown
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=60,
    mutations=[Mutation("results are lost", red="to be completed|retries", sabotage=disown)],
)
def play(scene: Scene) -> None:
    # given
    faults.spare(scene.db)
    scene.handler("sleep")
    scene.worker(RUNQY_CONCURRENCY="4")
    ids = scene.send({"seconds": 0.05}, count=120)
    # when, again and again
    with scene.fault("connections dropped, scripts forgotten", "redis"):
        for round_ in range(1, 6):
            scene.until(lambda least=round_: len(scene.diary().of("end")) >= 15 * least, "some tasks to end")  # type: ignore[misc]
            faults.kill_clients(scene.db)
            faults.flush_scripts(scene.db)
    # then
    scene.ended(ids)
    scene.check_undisturbed(ids)
