"""A secret that the task process prints is masked before it reaches the log or Redis."""

from harness.queue import asynq
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import QUEUE, Scene

SECRET = "canary-77aa0b1e"  # noqa: S105  known here alone


@scenario(
    budget_s=30,
    # A worker that does not know that this is a secret.
    mutations=[
        Mutation("not masked", red="no secret", registration={"vaults": None}, env={"API_TOKEN": SECRET})
    ],
)
def play(scene: Scene) -> None:
    # given a handler that prints its whole environment on both streams
    scene.handler("print_secrets", vaults={"keys": {"API_TOKEN": SECRET}})
    worker = scene.worker()
    # when it has done so, and its lines have arrived
    scene.ended(scene.send())
    scene.until(lambda: "API_TOKEN" in asynq.get_everything(scene.db), "its lines in Redis")
    # then
    stored = asynq.get_everything(scene.db, but=asynq.key(QUEUE, "t:"))
    expect.true("no secret is in the lines in Redis", SECRET not in stored)
    expect.true("no secret is in the log", SECRET not in worker.log_text())
