"""Tasks that crash the process whenever they run end archived, with how often; the worker goes on."""

import redis

from harness.queue import asynq
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import QUEUE, Scene


def _forget_crashes(db: redis.Redis) -> None:
    for key in db.scan_iter(asynq.task_key(QUEUE, "*")):
        db.hdel(key, "crashes")


@scenario(
    budget_s=90,
    mutations=[
        Mutation("forgets crashes", red="archived|error of a poisoned task", sabotage=_forget_crashes),
    ],
)
def play(scene: Scene) -> None:
    # given a worker with the default number of restarts, and two poisoned tasks among good ones
    scene.handler("crash_on_poison")
    worker = scene.worker(RUNQY_CONCURRENCY="2", RUNQY_RETRY_BASE_DELAY="10ms")
    good = scene.send(count=10)
    poisoned = scene.send({"poison": True}, count=2)

    # when good ones keep coming until the poisoned ones have used their retries up
    def archived() -> bool:
        good.extend(scene.send(count=2))
        return set(scene.places(poisoned)) == {"archived"}

    scene.until(archived, "the poisoned tasks to be archived", 60, lambda: scene.places(poisoned))
    # then each says how often it crashed the process, and the worker is well
    for task_id in poisoned:
        error = scene.task(task_id).fields["error_msg"]
        expect.matching("error of a poisoned task", error, "crashed the process 4 times")
    scene.ended(good)
    scene.until(lambda: scene.recovery().get("state") == "idle", "the worker to be well", 10)
    expect.between("consecutive failures", scene.recovery()["consecutive_fails"], 0, 2)
    # and only the first crash of each can have cost a task beside it anything: from then on they ran alone
    expect.between("retries charged to good tasks", sum(scene.retried(good)), 0, 2)
    # and the crashes say which task they are charged to
    (beat,) = scene.heartbeats()
    charged = {crash["charged_to_task"] for crash in asynq.get_crashes(scene.db, beat["worker_id"])} - {""}
    expect.equal("tasks that crashes are charged to", charged, set(poisoned))
    # and so do the commands that the drill names
    seen = worker.run("crashes").stdout
    for task_id in poisoned:
        expect.matching("runqy-appliance crashes", seen, f"charged to task {task_id}")
        explained = worker.run("explain", task_id).stdout
        expect.matching("runqy-appliance explain", explained, "crashed the process 4 times")
