"""A release that cannot start replaces no worker: the ones of before do the work until it is mended."""

from typing import Any

from harness.scenarios import expect
from harness.scenarios.deployment.follows_the_branch import code
from harness.scenarios.drills.crash_loop import DEGRADED, end_of
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene

_SETTINGS: dict[str, Any] = {"RUNQY_RECOVERY_MAX_RESTARTS": "1", "RUNQY_DEGRADED_POLICY": "exit"}


@scenario(
    budget_s=120,
    mutations=[Mutation("stays", red="to end", env={"RUNQY_DEGRADED_POLICY": "hold"})],
)
def play(scene: Scene) -> None:
    # given a worker of a release that works
    repo = scene.handler(code("first"))
    old = scene.worker(**_SETTINGS)
    # when one of the next release is started beside it, which cannot start
    repo.commit({**code("second"), "main.py": "raise SystemExit('a setting is missing')\n"})
    new = scene.worker(ready=False, **_SETTINGS)
    # then that ends, without having been ready once, as what replaces workers wants to see it
    status = end_of(scene, new)
    expect.equal("exit status", status, DEGRADED)
    expect.equal("processes of it that were ready", len(scene.diary(new).of("ready")), 0)
    # and the old one works, charging nothing
    ids = scene.send(count=5)
    expect.equal("result", scene.results(ids), ["first"] * len(ids))
    scene.check_undisturbed(ids)
    # when it is mended, and the old one goes once the new one is ready
    repo.commit(code("third"))
    scene.worker(**_SETTINGS)
    old.terminate()
    expect.equal("exit status", old.wait(60), 0)
    expect.equal("result", scene.results(scene.send()), ["third"])
