"""Where the repository is out of reach a worker goes on with what it has."""

from harness.faults.proxy import FaultProxy
from harness.faults.refuse import Refuse
from harness.scenarios import expect
from harness.scenarios.deployment.follows_the_branch import code
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import PARENT, Scene
from harness.server.config import QueueConfig


@scenario(
    budget_s=60,
    mutations=[
        Mutation(
            "knows another place",
            red="while waiting for a task process",
            registration={"deployment": {"git_url": "http://127.0.0.1:1/nowhere.git"}},
        )
    ],
)
def play(scene: Scene) -> None:
    # given a worker that has worked, and gets its code over its own connection
    address = scene.stack.runtime.address
    with FaultProxy((address, scene.server.port), host=address) as line:
        repo = scene.handler(code("first"))
        url = f"http://{address}:{line.port}{scene.server.export(repo.folder)}"
        scene.serve(QueueConfig(name=PARENT, git_url=url))
        worker = scene.worker(RUNQY_BOOTSTRAP_RETRIES="1")
        worker.terminate()
        scene.exit_status(worker)
        # when it is started again and the line is dead
        with scene.fault("refused", "repository"):
            line.set(Refuse())
            worker.restart()
            scene.ready(2, timeout_s=40)
    # then
    expect.equal("result", scene.results(scene.send()), ["first"])
