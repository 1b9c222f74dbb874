"""A worker that crashes at every start ends, loses no task, and takes mended code at its next start."""

from harness.sandbox.handlers import handler_files
from harness.sandbox.runtimes.protocol import Worker
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene

#: Of a degraded worker that was told to end (``RUNQY_DEGRADED_POLICY=exit``).
DEGRADED = 6


def end_of(scene: Scene, worker: Worker) -> int:
    """Wait for the end of a worker whose process cannot start; returns its exit status."""

    def given_up() -> bool:
        found = [each for beat in scene.heartbeats() for each in beat["recovery"].values()]
        return any(each.get("state") == "degraded" for each in found)

    scene.until(lambda: worker.exit_status is not None or given_up(), "the worker to give up", 60)
    return worker.wait(15)


@scenario(
    budget_s=120,
    mutations=[Mutation("stays", red="to end", env={"RUNQY_DEGRADED_POLICY": "hold"})],
)
def play(scene: Scene) -> None:
    # given code that cannot start, tasks, and an orchestrator that starts what ends
    files = handler_files("raw_echo")
    repo = scene.handler({**files, "main.py": "import a_package_that_was_forgotten\n"})
    ids = scene.send(count=3)
    worker = scene.worker(
        ready=False, RUNQY_RECOVERY_MAX_RESTARTS="1", RUNQY_DEGRADED_POLICY="exit", RUNQY_STATE_DIR=""
    )
    for _ in range(2):
        expect.equal("exit status", end_of(scene, worker), DEGRADED)
        worker.restart()
    expect.equal("exit status", end_of(scene, worker), DEGRADED)
    # then the log, which outlives the worker, says what is wrong
    expect.matching("the worker's log", worker.tail(), "a_package_that_was_forgotten")
    # and the tasks are where they were, and were charged nothing
    expect.equal("where the tasks are", scene.places(ids), ["pending"] * len(ids))
    expect.equal("retries charged", scene.retried(ids), [0] * len(ids))
    # when the code is mended, and the worker is started once more, as it would be anyway
    repo.commit(files)
    worker.restart()
    # then they are done
    scene.ended(ids, timeout_s=60)
    scene.check_undisturbed(ids)
