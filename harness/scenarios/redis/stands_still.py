"""A Redis that hangs for a while costs nothing: what was done meanwhile is delivered, and work goes on."""

from harness.faults.processes import stopped
from harness.sandbox.redis import RedisServer
from harness.scenarios.disowned import disown
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=60,
    mutations=[Mutation("results are lost", red="to be completed|retries", sabotage=disown)],
)
def play(scene: Scene) -> None:
    # given tasks, some of which run when it begins
    scene.handler("sleep")
    scene.worker(RUNQY_CONCURRENCY="2")
    ids = scene.send({"seconds": 1}, count=6)
    scene.until(lambda: scene.diary().of("begin"), "a task to begin")
    # when
    pid = scene.redis.pid if isinstance(scene.redis, RedisServer) else None
    assert pid is not None, "a Redis of our own"
    with scene.fault("stands still", "redis"), stopped(pid):
        scene.until(lambda: scene.diary().of("end"), "a task to end meanwhile", 10)
    # then
    scene.ended(ids)
    scene.check_undisturbed(ids)
