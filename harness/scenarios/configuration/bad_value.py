"""A bad value ends the worker within two seconds, with a message that names every one of them."""

import time

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=20,
    mutations=[
        Mutation("falls back", red="to end", env={"RUNQY_CONCURRENCY": "", "RUNQY_SHUTDOWN_TIMEOUT": ""}),
        Mutation("names one only", red="names", env={"RUNQY_SHUTDOWN_TIMEOUT": ""}),
    ],
)
def play(scene: Scene) -> None:
    # given
    scene.handler("echo")
    # when
    began_s = time.monotonic()
    worker = scene.worker(ready=False, RUNQY_CONCURRENCY="many", RUNQY_SHUTDOWN_TIMEOUT="30")
    status = scene.exit_status(worker, 10)
    # then it ends soon, before it has asked the server for anything
    expect.took("seconds until it ended", time.monotonic() - began_s, 0, 2)
    expect.true("the exit status says so", status != 0, status)
    expect.equal("registrations", len(scene.server.requests_to("/worker/register")), 0)
    # and says what is wrong and what would be right
    said = worker.log_text()
    for part in ("RUNQY_CONCURRENCY", "many", "RUNQY_SHUTDOWN_TIMEOUT", "'30'"):
        expect.true(f"it names {part}", part in said, said)
