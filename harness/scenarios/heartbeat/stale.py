"""A worker that was killed is forgotten: what it said of itself runs out within half a minute."""

import redis

from harness import asynq, expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


def _keep(db: redis.Redis) -> None:
    for worker_id in asynq.get_worker_ids(db):
        db.persist(asynq.worker_key(worker_id))


@scenario(budget_s=30, mutations=[Mutation("for ever", red="seconds to live", sabotage=_keep)])
def play(scene: Scene) -> None:
    # given
    scene.handler("echo")
    worker = scene.worker()
    scene.until(scene.heartbeats, "a heartbeat")
    # when
    worker.kill()
    worker.wait(10)
    # then
    (worker_id,) = asynq.get_worker_ids(scene.db)
    left_s = float(scene.db.ttl(asynq.worker_key(worker_id)))
    expect.between("seconds to live", left_s, 1, 30)
