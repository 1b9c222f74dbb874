"""A worker with a bug: ``python mutant.py NAME`` is this project's worker but for one thing.

What the checker is worth is what it catches; each of these is something a worker could do wrong.
"""

import os
import sys

from appliance import patching

patching.patch()

from appliance import __main__ as program  # noqa: E402
from appliance.dispatch.dispatcher import Dispatcher  # noqa: E402
from appliance.dispatch.unsettled import Unsettled  # noqa: E402
from appliance.observe.redaction import Redactor  # noqa: E402
from appliance.process.outcome import Crashed, Returned, Succeeded  # noqa: E402
from appliance.queue import scripts  # noqa: E402
from appliance.queue.broker import Broker  # noqa: E402
from appliance.queue.message import Lease  # noqa: E402
from appliance.queue.replies import FenceReply  # noqa: E402
from appliance.queue.scripts import Script  # noqa: E402
from appliance.queue.settlement import Policy, Return  # noqa: E402


def sound() -> None:
    """No bug at all: what holds for the others must not hold because of how they are run."""


def unfenced() -> None:
    """Its scripts believe everybody: who lost a lease settles what another worker has."""
    honest = "if (held[2] or '') ~= owner or attempt_text(held[3], held[4]) ~= attempt then return 'lost' end"
    for name, script in vars(scripts).items():
        if isinstance(script, Script):
            source = script.source.replace(honest, "if held[1] then return 'held', held end")
            setattr(scripts, name, Script.of(script.name, source))
    scripts.ALL = tuple(script for script in vars(scripts).values() if isinstance(script, Script))


def forgets_leases() -> None:
    """It prolongs none of its leases and believes it did."""
    Broker.extend = lambda _, leases: dict.fromkeys(leases, FenceReply.DONE)  # type: ignore[method-assign]


def loses_outcomes() -> None:
    """Of every twenty outcomes it drops one, and holds the task for ever."""
    count = 0
    forgotten: list[Lease] = []
    honest, held = Unsettled.add_outcome, Dispatcher.held

    def forgetful(self, task, outcome, run_s=None) -> None:
        nonlocal count
        count += 1
        if count % 20:
            honest(self, task, outcome, run_s)
        else:
            forgotten.append(task.lease)

    Unsettled.add_outcome = forgetful  # type: ignore[method-assign]
    Dispatcher.held = lambda self: held(self) + forgotten  # type: ignore[method-assign]


def mixes_up_results() -> None:
    """It gives some tasks the result of the one before."""
    honest = Policy.settle
    before = Succeeded(b"null")

    def mixed(self, task, outcome, now_wall_s):
        nonlocal before
        if isinstance(outcome, Succeeded):
            outcome, before = (before if task.lease.task_id < "4" else outcome), outcome
        return honest(self, task, outcome, now_wall_s)

    Policy.settle = mixed  # type: ignore[method-assign]


def charges_for_a_drain() -> None:
    """What it did not get to before it had to end costs the tasks a retry."""
    honest = Policy.settle

    def greedy(self, task, outcome, now_wall_s):
        blamed = Crashed("the worker ended") if isinstance(outcome, Returned) else outcome
        return honest(self, task, blamed, now_wall_s)

    Policy.settle = greedy  # type: ignore[method-assign]


def gives_back_what_runs() -> None:
    """It returns tasks to the queue while its process is at them, each once."""
    honest = Broker.extend
    given = set()

    def generous(self, leases):
        replies = honest(self, leases)
        fresh = [lease for lease in leases if lease.task_id not in given]
        given.update(lease.task_id for lease in fresh)
        self.settle([Return(lease, "somebody else may have it") for lease in fresh])
        return replies

    Broker.extend = generous  # type: ignore[method-assign]


def tells_secrets() -> None:
    """It masks nothing."""
    Redactor.text = lambda _, text: text  # type: ignore[method-assign]


def ends_badly() -> None:
    """It drains as it must, and says that it failed."""
    honest = program.main
    program.main = lambda: honest() or 1


if __name__ == "__main__":
    globals()[sys.argv.pop(1).replace(" ", "_")]()
    # As python -m would have it: nothing of this folder is importable by accident.
    sys.path.pop(0)
    os.environ.pop("PYTHONPATH", None)
    sys.exit(program.main())
