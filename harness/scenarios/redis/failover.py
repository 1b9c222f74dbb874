"""While Redis fails over and refuses to write, nothing is lost and no task is charged."""

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
    scene.handler("sleep")
    scene.worker(RUNQY_CONCURRENCY="2")
    ids = scene.send({"seconds": 0.3}, count=20)
    scene.until(lambda: scene.diary().of("end"), "a task to end")
    # when
    with scene.fault("read-only", "redis"), faults.read_only(scene.db):
        ended = len(scene.diary().of("end"))
        scene.until(lambda: len(scene.diary().of("end")) > ended, "a task to end meanwhile", 10)
    # then
    scene.ended(ids)
    scene.check_undisturbed(ids)
