"""``python -m tests.chaos.try_mutant NAME FOLDER``: a mutant in a short run made to meet it; prints JSON.

A process of its own for each, so that all of them can be tried at the same time.
"""

import json
import sys
from collections.abc import Collection
from pathlib import Path

from harness.chaos import tell
from harness.chaos.plan import Plan, PlannedFault, PlannedTask
from harness.chaos.run import run
from harness.chaos.world import RunOptions
from harness.failure import interrupt, on_interruption
from tests.chaos.mutants import END, MUTANTS, STOP

#: Seconds with faults, and without.
DURATION_S, CALM_S = 9.0, 6.0
#: Seconds for everything to settle: what a bug holds up may never do so, all else does on a busy machine too.
HELD_UP_S, SETTLE_S = 15.0, 180.0


def plan(kinds: Collection[str], long_tasks: int) -> Plan:
    """Two workers; of ``kinds``: one stands still for longer than its leases, the other is asked to end."""
    behaviours = [("long", {"do": "work", "seconds": 2.6})] * long_tasks
    behaviours += [("noisy", {"do": "noise"}), ("fails once", {"do": "retry", "until": 1})] * 2
    behaviours += [("short", {"do": "work", "seconds": 0.01})] * 60
    tasks = [
        PlannedTask(
            # The long ones first, so that both workers are at them when they are troubled.
            at_s=0.2 if name == "long" and number else 0.3 + number * 0.08,
            task_id=f"{number % 16:x}{number:07}-0000-4000-8000-000000000000",
            queue="chaos.default",
            behaviour=name,
            payload={**payload, "blob": str(number)},
            retry=50,
            must="completed",
        )
        for number, (name, payload) in enumerate(behaviours)
    ]
    faults = (
        # A lease, rounded up, and the time until others look.
        PlannedFault(2.0, 6.0, STOP, "0"),
        PlannedFault(3.0, 0.0, END, "1"),
    )
    chosen = tuple(fault for fault in faults if fault.kind in kinds)
    duration_s = DURATION_S if chosen else CALM_S
    return Plan(0, duration_s, 2, sorted(tasks, key=lambda task: task.at_s), chosen, (0.0, 0.0))


def main(name: str, folder: Path) -> None:
    """Run it and print what it came to."""
    command = [sys.executable, str(Path(__file__).parent / "mutant.py"), name]
    # A drain shorter than the long tasks, so that some are given back.
    mutant = MUTANTS[name]
    settings = {"RUNQY_SHUTDOWN_TIMEOUT": "500ms", "RUNQY_CONCURRENCY": str(mutant.slots)}
    settle_s = HELD_UP_S if mutant.violates else SETTLE_S
    outcome = run(
        RunOptions(plan(mutant.faults, mutant.long_tasks), folder, command, settings, settle_s=settle_s)
    )
    tell.write_report(outcome, f"mutant {name}", folder / "report")
    print(json.dumps(tell.summary(outcome)))


if __name__ == "__main__":
    # What it has mounted is taken down before it ends.
    on_interruption(interrupt)
    main(sys.argv[1], Path(sys.argv[2]))
