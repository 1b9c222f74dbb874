"""Which mutants there are: no imports of a worker, so that who runs them is not patched by gevent."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A bug of ``mutant.py``: the faults it takes to meet it, and the invariants of which it violates one.

    ``long_tasks`` are those that take longer than a lease, ``slots`` how many tasks each worker takes.
    """

    faults: tuple[str, ...] = ()
    violates: tuple[str, ...] = ()
    long_tasks: int = 7
    slots: int = 4


STOP, END = "worker stopped", "worker asked to end"
MUTANTS = {
    "sound": Mutant((STOP, END)),
    # Who comes first decides how it shows.
    "unfenced": Mutant((STOP,), ("no task is lost", "a task is settled", "a strict tool can read")),
    "forgets leases": Mutant((), ("every retry charged is explained",)),
    "loses outcomes": Mutant((), ("no task is lost",)),
    "mixes up results": Mutant((), ("a task is settled by who has it",)),
    "charges for a drain": Mutant((END,), ("every retry charged is explained",)),
    # With a slot each, one is at the long task, and the other one, at short ones, is free for it in no time.
    "gives back what runs": Mutant((), ("a task never runs twice at the same time",), long_tasks=1, slots=1),
    "tells secrets": Mutant((), ("no secret is anywhere",)),
    "ends badly": Mutant((END,), ("a drain keeps to its budget",)),
}
