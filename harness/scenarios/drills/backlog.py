"""More workers take their part of a backlog, and those that go give back what they have; no task notices."""

import redis

from harness.queue import asynq
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import QUEUE, Scene


def _pause(db: redis.Redis) -> None:
    db.set(asynq.key(QUEUE, "paused"), 1)


@scenario(
    budget_s=90,
    mutations=[Mutation("does not work at all", red="each worker to have begun", sabotage=_pause)],
)
def play(scene: Scene) -> None:
    # given more tasks than the only worker does soon
    scene.handler("raw_sleep")
    scene.worker()
    ids = scene.send({"seconds": 0.4}, count=10)
    # when two more are started, and it does not get less meanwhile
    added = [scene.worker() for _ in range(2)]
    ids += scene.send({"seconds": 0.4}, count=40)
    # then they take their part
    scene.until(
        lambda: all(scene.diary(worker).of("begin") for worker in scene.stack.workers),
        "each worker to have begun a task",
        30,
    )
    # when one goes again while tasks wait
    added[0].terminate()
    expect.equal("exit status", added[0].wait(60), 0)
    # then all is done, each task once
    scene.ended(ids, timeout_s=60)
    scene.check_undisturbed(ids)
