"""From before deployment until it has stopped, the heartbeat says what the worker is."""

from harness import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=40,
    mutations=[
        Mutation("wrong figures", red="concurrency", env={"RUNQY_CONCURRENCY": "3"}),
        Mutation("not itself", red="instance", env={"RUNQY_INSTANCE_ID": "another"}),
    ],
)
def play(scene: Scene) -> None:
    # given a process that takes its time to start
    scene.handler("slow_start", sub_queues={"high": 9, "low": 1})
    # when
    worker = scene.worker(
        ready=False, RUNQY_CONCURRENCY="2", RUNQY_INSTANCE_ID="machine-7", HANDLER_SECONDS="1"
    )
    # then it is seen before it has deployed anything, while it runs, and when it has stopped
    for status in ("bootstrapping", "running"):
        scene.until(
            lambda status=status: [beat["status"] for beat in scene.heartbeats()] == [status],  # type: ignore[misc]
            f"the status {status}",
            30,
        )
    (beat,) = scene.heartbeats()
    expect.equal("concurrency", beat["concurrency"], "2")
    expect.equal("instance", beat["instance_id"], "machine-7")
    expect.equal("queues", beat["queues"], "map[inference.high:9 inference.low:1]")
    metrics = {"cpu_percent", "memory_used_bytes", "memory_total_bytes", "gpus", "collected_at"}
    expect.true("metrics are told", metrics <= set(beat["metrics"]), beat["metrics"])
    worker.terminate()
    worker.wait(15)
    expect.equal("status at the end", [beat["status"] for beat in scene.heartbeats()], ["stopped"])
