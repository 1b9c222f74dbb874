"""A restart brings the code up to the branch's tip."""

from harness.sandbox.handlers import handler_files
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene

_CODE = """
import raw

raw.ready()
for task in raw.tasks():
    raw.answer(task, {version!r})
"""


def code(version: str) -> dict[str, str]:
    """A program whose every result is its version."""
    return {**handler_files("raw_echo"), "main.py": _CODE.format(version=version)}


@scenario(
    budget_s=40,
    mutations=[Mutation("stays behind", red="result", registration={"deployment": {"branch": "v1"}})],
)
def play(scene: Scene) -> None:
    # given
    repo = scene.handler(code("first"))
    repo.tag("v1")
    worker = scene.worker()
    expect.equal("result", scene.results(scene.send()), ["first"])
    # when the branch moves on and the worker is started again
    repo.commit(code("second"))
    worker.terminate()
    scene.exit_status(worker)
    worker.restart()
    scene.ready(2)
    # then
    expect.equal("result", scene.results(scene.send()), ["second"])
