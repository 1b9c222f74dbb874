"""Which sub-queue the next task is taken from. Pure.

Queues stand in tiers: a later one is served only while those before it have nothing. Within a tier
they share by weight, each task moving its queue ``1 / weight`` forward on a common scale; the
queue that is least far is next. That is smooth (9 to 1 comes as nine, with the one in the middle),
exact over any number of tasks, and owes nothing to chance. A queue that had nothing joins again
level with the others: what it did not need is not saved up, so it cannot crowd them out.

The scale is in whole numbers, so that a small step is never lost in a large sum.
"""

from collections.abc import Collection, Mapping, Sequence
from heapq import heapify, heapreplace
from math import lcm


def strict(priorities: Mapping[str, int]) -> "Order":
    """The highest priority first, always; equals take turns."""
    falling = sorted(set(priorities.values()), reverse=True)
    return Order([{name: 1 for name, p in priorities.items() if p == priority} for priority in falling])


def weighted(priorities: Mapping[str, int]) -> "Order":
    """As many tasks of each as its priority says, so that none starves; less than 1 counts as 1."""
    return Order([{name: max(1, priority) for name, priority in priorities.items()}])


#: By the words of ``RUNQY_QUEUE_STRATEGY``.
STRATEGIES = {"strict": strict, "weighted": weighted}


class Order:
    """See the module. ``tiers`` map each queue's name to its weight, which is at least 1."""

    def __init__(self, tiers: Sequence[Mapping[str, int]]) -> None:
        self.tiers = tuple(tuple(tier) for tier in tiers)
        self._tier = {name: tier for tier in self.tiers for name in tier}
        self._step: dict[str, int] = {}
        for tier in tiers:
            scale = 2 * lcm(*tier.values())
            self._step |= {name: scale // weight for name, weight in tier.items()}
        # The middle of the queue's next step: so the heavy ones come first, and the light not last.
        self._due = {name: step // 2 for name, step in self._step.items()}
        self._resting: set[str] = set()

    def split(self, queues: Collection[str], room: int) -> dict[str, int]:
        """How the next ``room`` tasks fall to ``queues`` of one tier, those who get none left out.

        That is only a plan: what is taken is told to :meth:`took`.
        """
        for queue in queues:
            self._join(queue)
        if len(queues) == 1:
            return dict.fromkeys(queues, room)
        turns = [(self._due[queue], self._step[queue], queue) for queue in queues]
        heapify(turns)
        shares: dict[str, int] = {}
        for _ in range(room):
            due, step, queue = turns[0]
            shares[queue] = shares.get(queue, 0) + 1
            heapreplace(turns, (due + step, step, queue))
        return shares

    def took(self, queue: str, count: int) -> None:
        """So many tasks came from ``queue``, whether it was its turn or not."""
        self._join(queue)
        self._due[queue] += count * self._step[queue]

    def rest(self, queue: str) -> None:
        """The queue has nothing, or nothing may be taken from it, until it is in a split again."""
        self._resting.add(queue)

    def _join(self, queue: str) -> None:
        if queue not in self._resting:
            return
        tier = self._tier[queue]
        busy = [name for name in tier if name not in self._resting]
        self._resting.discard(queue)
        # Where the last task was taken, and not ahead of a queue that waits. While none is busy, none waits.
        last = max(self._due[name] - self._step[name] for name in busy or tier)
        self._due[queue] = max(self._due[queue], min([last, *(self._due[name] for name in busy)]))
