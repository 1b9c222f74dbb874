"""Whatever a process writes beside its answers costs no task anything."""

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene

HANDLERS = (
    "garbage",
    "glued_output",
    "unknown_id",
    "duplicate_answers",
    "no_object_lines",
    "long_line",
    "stderr_flood",
)


@scenario(
    budget_s=90,
    mutations=[Mutation("loses one", red="to be completed", env={"RUNQY_QUEUES": ",".join(HANDLERS[:-1])})],
)
def play(scene: Scene) -> None:
    # given one worker with a process of each kind
    for handler in HANDLERS:
        scene.handler(handler, parent=handler)
    # Three tasks of each: together more than the log keeps waiting for a slow reader.
    scene.worker(",".join(HANDLERS), HANDLER_MEGABYTES="3")
    # when
    ids = [task_id for name in HANDLERS for task_id in scene.send(count=3, queue=f"{name}.default")]
    # then
    scene.ended(ids, timeout_s=60)
    expect.equal("retries charged", sum(scene.retried(ids)), 0)
    expect.equal("crashes", {state["state"] for state in _recovery(scene)}, {"idle"})


def _recovery(scene: Scene) -> list[dict[str, str]]:
    return [state for beat in scene.heartbeats() for state in beat["recovery"].values()]
