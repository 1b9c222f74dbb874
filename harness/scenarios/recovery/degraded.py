"""After exactly max_restarts restarts the worker is degraded, says so, and loses no task."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene
from harness.scenarios.short_lived import CRASHES, STARTUP


@scenario(
    budget_s=30,
    mutations=[
        Mutation("one restart less", red="starts", env={"RUNQY_RECOVERY_MAX_RESTARTS": "2"}),
        Mutation("one restart more", red="starts", env={"RUNQY_RECOVERY_MAX_RESTARTS": "4"}),
        Mutation(
            "ends instead",
            # Before that is seen, or after.
            red="while waiting for the worker to be degraded|exit status of the degraded worker",
            env={"RUNQY_DEGRADED_POLICY": "exit"},
        ),
    ],
    length="smoke",
)
def play(scene: Scene) -> None:
    # given a process that always dies, and a task
    scene.handler(CRASHES, startup_cmd=STARTUP)
    (task_id,) = scene.send()
    # when three restarts are used up
    worker = scene.worker(RUNQY_RECOVERY_MAX_RESTARTS="3")
    scene.degraded()
    # then there were four starts, and there is no fifth
    starts = len(scene.diary().of("start"))
    expect.equal("starts until it is degraded", starts, 4)
    scene.stays(lambda: len(scene.diary().of("start")) == starts, "nothing is started any more", 2)
    # and the worker is there, and its heartbeat says so
    expect.equal("exit status of the degraded worker", worker.exit_status, None)
    (beat,) = scene.heartbeats()
    expect.equal("healthy", beat["healthy"], "0")
    # and the task waits for another worker
    place = scene.places([task_id])[0]
    expect.true("the task waits", place in {"pending", "retry", "active"}, place)
