"""A worker that was frozen beyond its lease cannot settle what another one has done meanwhile."""

from collections import Counter

from harness.queue import asynq
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import QUEUE, Scene


@scenario(
    budget_s=60,
    mutations=[Mutation("leases for ever", red="to be completed", env={"RUNQY_LEASE_DURATION": "10m"})],
)
def play(scene: Scene) -> None:
    # given a worker with a task
    scene.handler("sleep")
    first = scene.worker(RUNQY_LEASE_DURATION="5s")
    (task_id,) = scene.send({"seconds": 1})
    scene.until(lambda: scene.diary(first).begun[task_id], "the task to begin")
    # when it is frozen, another one recovers the task and does it, and it wakes up
    with scene.fault("frozen", first.name):
        first.pause()
        scene.worker(RUNQY_LEASE_DURATION="5s")
        scene.ended([task_id], timeout_s=25)
        before = scene.task(task_id).fields
        first.resume()
    # then its own outcome changes nothing, and it works on
    more = scene.send({"seconds": 0}, count=20)
    scene.ended(more)
    expect.equal("the task's hash", scene.task(task_id).fields, before)
    expect.equal("completed", Counter(scene.places([task_id, *more])), Counter(completed=21))
    expect.equal("counted", int(scene.db.get(asynq.key(QUEUE, "processed")) or 0), 22)
