"""A worker that was killed is forgotten: what it said of itself runs out within half a minute."""

import redis

from harness.queue import asynq
from harness.scenarios import expect
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
    scene.exit_status(worker)
    # then it has less than half a minute to live, and less and less of it
    (worker_id,) = asynq.get_worker_ids(scene.db)

    def left_s() -> int:
        return int(scene.db.ttl(asynq.worker_key(worker_id)))

    first_s = left_s()
    expect.between("seconds to live", first_s, 0, 30)
    scene.until(lambda: left_s() < first_s, "fewer seconds to live", 5, left_s)
