"""Which parents a worker registers for, and which of their sub-queues it listens on. Pure.

A queue's name is ``{parent}.{sub}``; the parent is what stands before the first dot.
"""

from collections.abc import Collection, Iterable, Mapping

from appliance.control.contract import Registration, SubQueue
from appliance.errors import RegistrationRejected

#: Sub-queues that one worker serves at most: each has a connection to Redis on which it waits.
MOST_SERVED = 256
#: Names that are listed for people.
_MOST_NAMED = 20


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

    Raises :class:`~appliance.errors.RegistrationRejected` when none is left, or more than a worker can serve.
    """
    if wanted is None:
        return _servable(registration, registration.sub_queues), ()
    known = [sub_queue.name for sub_queue in registration.sub_queues]
    there_are = f"queue {registration.parent} has {_listed(known)}"
    unknown = sorted(wanted.difference(known))
    if wanted.isdisjoint(known):
        raise RegistrationRejected(f"the server knows none of {_listed(unknown)}; {there_are}")
    warnings = tuple(f"the server does not know {name}; {there_are}" for name in unknown)
    return _servable(registration, (sub for sub in registration.sub_queues if sub.name in wanted)), warnings


def _servable(registration: Registration, chosen: Iterable[SubQueue]) -> tuple[SubQueue, ...]:
    sub_queues = tuple(chosen)
    if len(sub_queues) > MOST_SERVED:
        raise RegistrationRejected(
            f"queue {registration.parent} has {len(sub_queues)} sub-queues, a worker serves at most "
            f"{MOST_SERVED}; name in RUNQY_QUEUES those that this one is for"
        )
    return sub_queues


def _listed(names: Collection[str]) -> str:
    shown, more = sorted(names)[:_MOST_NAMED], len(names) - _MOST_NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
