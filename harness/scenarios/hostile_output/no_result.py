"""An answer that cannot be a result fails its task, for good and with the reason, and no other."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene

HANDLERS = ("not_a_number", "invalid_utf8")


@scenario(
    budget_s=40,
    mutations=[Mutation("tries again", red="retries", env={"RUNQY_RETRY_POLICY": "always"})],
)
def play(scene: Scene) -> None:
    # given
    for handler in HANDLERS:
        scene.handler(handler, parent=handler)
    scene.worker(",".join(HANDLERS))
    # when
    ids = [task_id for name in HANDLERS for task_id in scene.send(queue=f"{name}.default")]
    # then
    scene.ended(ids, "archived", timeout_s=30)
    expect.equal("retries charged", scene.retried(ids), [0] * len(ids))
    for task_id in ids:
        expect.true("the task says why", scene.task(task_id).fields.get("error_msg"))
