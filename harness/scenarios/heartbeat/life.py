"""From before deployment the heartbeat says what the worker is; one that has stopped is gone."""

from harness.faults.proxy import FaultProxy
from harness.faults.stall import Stall
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import PARENT, Scene
from harness.server.config import QueueConfig


@scenario(
    budget_s=40,
    mutations=[
        Mutation("wrong figures", red="concurrency", env={"RUNQY_CONCURRENCY": "3"}),
        Mutation("not itself", red="instance", env={"RUNQY_INSTANCE_ID": "another"}),
    ],
)
def play(scene: Scene) -> None:
    # given code that does not arrive
    address = scene.stack.runtime.address
    with FaultProxy((address, scene.server.port), host=address) as line:
        url = f"http://{address}:{line.port}{scene.server.export(scene.handler('slow_start').folder)}"
        scene.serve(QueueConfig(name=PARENT, git_url=url, sub_queues={"high": 9, "low": 1}))
        line.set(Stall())
        # when
        worker = scene.worker(
            ready=False, RUNQY_CONCURRENCY="2", RUNQY_INSTANCE_ID="machine-7", HANDLER_SECONDS="1"
        )
        # then it is seen before it has deployed anything
        scene.until(lambda: _statuses(scene) == ["bootstrapping"], "the status bootstrapping", 30)
        # and when the code has come, and it runs
        line.set()
        scene.until(lambda: _statuses(scene) == ["running"], "the status running", 30)
    (beat,) = scene.heartbeats()
    expect.equal("concurrency", beat["concurrency"], "2")
    expect.equal("instance", beat["instance_id"], "machine-7")
    expect.equal("queues", beat["queues"], "map[inference.high:9 inference.low:1]")
    metrics = {"cpu_percent", "memory_used_bytes", "memory_total_bytes", "gpus", "collected_at"}
    expect.true("metrics are told", metrics <= set(beat["metrics"]), beat["metrics"])
    worker.terminate()
    scene.exit_status(worker)
    # and no longer, or the server's autoscaler would count it
    expect.equal("heartbeats at the end", scene.heartbeats(), [])


def _statuses(scene: Scene) -> list[str]:
    return [beat["status"] for beat in scene.heartbeats()]
