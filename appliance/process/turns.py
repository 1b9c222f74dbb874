"""Whether code that is given several tasks at once works on one after the other. Pure.

Answers alone have to tell. Code that works on several at once sooner or later answers one before an older
one. If it never does, tasks may just take the same time: then those that came together are answered
together, and not each a run later. So it takes many answers in order, and a task that came with the one
before and was answered as much later as that one took.
"""

#: Answers in order of tasks that were in flight together, until that is proof enough.
ENOUGH_ANSWERS = 40
#: Seconds between two answers below which nothing is concluded: such short tasks gain little anyway.
TELLING_S = 0.01
#: Two tasks came together where what lies between them is no more than this part of what lies between their
#: answers; the second waited for the first where that is at least this part of what the first took.
TOGETHER = 0.4
WAITED = 0.7


class Turns:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._decided = False
        self._answers = 0
        self._waited = False
        self._most = 0
        self._last: tuple[float, float] | None = None

    @property
    def most(self) -> int:
        """The most tasks that were in flight at once."""
        return self._most

    def answered(self, added_s: float, now_s: float, *, in_order: bool, in_flight: int) -> bool:
        """A task that was handed over at ``added_s`` was answered, one of ``in_flight``.

        ``in_order``: it was the oldest. Returns whether it is certain now, for the first time, that the code
        works on one task at a time.
        """
        if self._decided:
            return False
        if not in_order:
            self._decided = True
            return False
        self._most = max(self._most, in_flight)
        last, self._last = self._last, (added_s, now_s)
        # Was it in flight together with the one before?
        if last is not None and added_s <= last[1]:
            self._answers += 1
            later_s = now_s - last[1]
            together = added_s - last[0] <= TOGETHER * later_s
            self._waited |= together and later_s >= max(TELLING_S, WAITED * (last[1] - last[0]))
        if self._answers < ENOUGH_ANSWERS or not self._waited:
            return False
        self._decided = True
        return True
