"""A task for later is run within a second of its time, and not before."""

import time
from typing import Any

import redis

from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import QUEUE, Scene


def _hurry(db: redis.Redis) -> None:
    waiting: Any = db.zrange(asynq.key(QUEUE, "scheduled"), 0, -1)
    for task_id in waiting:
        db.zadd(asynq.key(QUEUE, "scheduled"), {task_id: 1})


@scenario(
    budget_s=30,
    mutations=[
        Mutation("too early", red="seconds", sabotage=_hurry),
        Mutation("never", red="to begin", sabotage=lambda db: db.set(asynq.key(QUEUE, "paused"), 1)),
    ],
)
def play(scene: Scene) -> None:
    # given
    scene.handler("raw_echo")
    scene.worker()
    # when
    due_s = time.time() + 4
    (task_id,) = asynq.seed_scheduled(scene.db, QUEUE, NewTask(), due_s=due_s)
    scene.until(lambda: scene.diary().begun[task_id], "the task to begin", 10)
    # then
    (entry,) = [entry for entry in scene.diary().about(task_id) if entry.event == "begin"]
    expect.took("seconds after its time", entry.wall_ns / 1e9 - due_s, -0.01, 1.3)
