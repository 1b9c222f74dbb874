"""The sub-queue of higher priority is served first."""

from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene

#: Seconds that each takes: of shorter ones more are taken at once, in the end all of them.
RUN_S = 0.01


@scenario(
    budget_s=30,
    mutations=[
        Mutation(
            "the other way round",
            red="urgent ones",
            registration={
                "sub_queues": [
                    {"name": "inference.high", "priority": 1},
                    {"name": "inference.low", "priority": 9},
                ]
            },
        ),
        Mutation("by weight", red="urgent ones", env={"RUNQY_QUEUE_STRATEGY": "weighted"}),
    ],
)
def play(scene: Scene) -> None:
    # given tasks in both, the less urgent ones for longer
    scene.handler("raw_sleep", sub_queues={"low": 1, "high": 9})
    low = asynq.seed_pending(scene.db, "inference.low", *[NewTask({"seconds": RUN_S}) for _ in range(40)])
    high = asynq.seed_pending(scene.db, "inference.high", *[NewTask({"seconds": RUN_S}) for _ in range(40)])
    # when
    scene.worker()
    scene.until(lambda: len(scene.diary().of("begin")) == 80, "all tasks to begin")
    # then
    order = [entry.task_id for entry in scene.diary().of("begin")]
    late = [task_id for task_id in order[40:] if task_id in high]
    expect.equal("urgent ones behind others", late, [])
    expect.equal("the others", sorted(map(str, order[40:])), sorted(low))
