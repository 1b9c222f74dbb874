"""A failed task is retried as often as its message says, later each time; one that forbids it is not."""

from itertools import pairwise

from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene


@scenario(
    budget_s=40,
    mutations=[
        Mutation("retries what forbids it", red="runs", env={"RUNQY_RETRY_POLICY": "always"}),
        Mutation("one retry", red="runs", env={"RUNQY_MAX_RETRY": "1"}),
        Mutation("no growth", red="waits", env={"RUNQY_RETRY_MAX_DELAY": "50ms"}),
    ],
)
def play(scene: Scene) -> None:
    # given a handler that fails as it is told to
    scene.handler("raw_error")
    scene.worker(RUNQY_RETRY_BASE_DELAY="50ms")
    # when one task wants to be tried again and one does not
    again, never = scene.send({"retry": True}, {"retry": False})
    scene.ended([again, never], "archived")
    # then the first ran once and three times more (what the server stamps), the other once
    begun = scene.diary().begun
    expect.equal("runs", (begun[again], begun[never]), (4, 1))
    # and it waited n⁴ times the base delay; due tasks are moved within a second
    at_s = [entry.mono_ns / 1e9 for entry in scene.diary().about(again) if entry.event == "begin"]
    waits = [after - before for before, after in pairwise(at_s)]
    for wait_s, n in zip(waits, (1, 2, 3), strict=True):
        expect.took(f"waits before retry {n}", wait_s, 0.05 * n**4 - 0.02, 0.05 * n**4 + 1.5)
    expect.true("the task says why", scene.task(again).fields["error_msg"])
