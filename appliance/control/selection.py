"""Which parents a worker registers for, and which of their sub-queues it listens on. Pure.

A queue's name is ``{parent}.{sub}``; the parent is what stands before the first dot.
"""

from collections.abc import Iterable, Mapping

from appliance.control.contract import Registration, SubQueue
from appliance.errors import RegistrationRejected


def plan_queues(names: Iterable[str]) -> Mapping[str, frozenset[str] | None]:
    """Group configured queue names by parent, in the order in which parents are first named.

    The value is the set of full sub-queue names asked for, or None for all of them, which is
    what the parent's own name asks for, alone or beside some of its sub-queues.
    """
    plan: dict[str, frozenset[str] | None] = {}
    for name in names:
        parent, dot, _ = name.partition(".")
        wanted = plan.get(parent, frozenset())
        plan[parent] = wanted | {name} if dot and wanted is not None else None
    return plan


def select(
    registration: Registration, wanted: frozenset[str] | None
) -> tuple[tuple[SubQueue, ...], tuple[str, ...]]:
    """The sub-queues to listen on, by falling priority, and a warning for each the server does not know.

    Raises :class:`~appliance.errors.RegistrationRejected` when none is left.
    """
    if wanted is None:
        return registration.sub_queues, ()
    known = [sub_queue.name for sub_queue in registration.sub_queues]
    there_are = f"queue {registration.parent} has {', '.join(sorted(known))}"
    unknown = sorted(wanted.difference(known))
    if wanted.isdisjoint(known):
        raise RegistrationRejected(f"the server knows none of {', '.join(unknown)}; {there_are}")
    warnings = tuple(f"the server does not know {name}; {there_are}" for name in unknown)
    return tuple(sub for sub in registration.sub_queues if sub.name in wanted), warnings
