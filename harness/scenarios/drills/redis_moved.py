"""Redis that moves, password and all, is found by asking the server; what ran meanwhile loses nothing."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=90,
    mutations=[
        Mutation("waits for the old one", red="to be completed", env={"RUNQY_REDIS_ASK_SERVER_AFTER": "1h"})
    ],
)
def play(scene: Scene) -> None:
    # given tasks, some of which run when it begins
    scene.handler("sleep")
    scene.worker(RUNQY_CONCURRENCY="2", RUNQY_REDIS_ASK_SERVER_AFTER="1s")
    ids = scene.send({"seconds": 1}, count=8)
    scene.until(lambda: len(scene.diary().of("begin")) >= 2, "two tasks to begin")
    # when
    with scene.fault("moves", "redis"):
        scene.move_redis()
        scene.ended(ids, timeout_s=30)
    # then
    scene.check_undisturbed(ids)
    # and the worker is there: it beats and takes new tasks
    scene.until(lambda: scene.heartbeats() and scene.heartbeats()[-1]["healthy"] == "1", "a healthy beat", 20)
    (later,) = scene.send({"seconds": 0})
    scene.ended([later])
    expect.equal("retries of a task sent afterwards", scene.retried([later]), [0])
