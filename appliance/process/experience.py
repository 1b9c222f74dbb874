"""What a runner has learned of its code, from one process to the next: above all, which tasks crash it. Pure.

Rules for whom a crash is charged to:

- A task whose run has ended in a crash before (here or at another worker) is *suspect*; it runs alone.
- The crash of a process in which nothing but a suspect ran is the task's, and not one of recovery's, where
  other tasks have succeeded here since the suspect's crash before, or since the last crash that counted.
- Of such crashes at most ``max_restarts`` in succession: where no task succeeds in between any more, it is
  the process that does not work.
"""

from collections import OrderedDict

from appliance.process.inflight import Entry
from appliance.process.runner import Request
from appliance.process.turns import Turns

#: Most crashed tasks that are remembered; of one that is forgotten, the crash counts as an unknown one.
REMEMBERED = 1_000


class Experience:
    """See the module; one for all processes of a runner."""

    def __init__(self, max_restarts: int) -> None:
        self._max_restarts = max_restarts
        self._successes = 0
        #: How many successes there were at the last crash that counted, and at each task's own last crash.
        self._at_count = 0
        self._at_crash: OrderedDict[tuple[str, str], int] = OrderedDict()
        #: Crashes charged to tasks since the last success.
        self._charged = 0
        self._said: set[str] = set()
        self.turns = Turns()

    def is_news(self, hint: str) -> bool:
        """Whether this has not been said yet; from now on it has."""
        news = hint not in self._said
        self._said.add(hint)
        return news

    def answered(self, entry: Entry, now_s: float, others: int) -> bool:
        """A task was answered, ``others`` were in flight; whether it is news that one runs at a time."""
        in_order = entry.oldest_since_s is not None
        return self.turns.answered(entry.added_s, now_s, in_order=in_order, in_flight=others + 1)

    def succeeded(self) -> None:
        """A task has succeeded."""
        self._successes += 1
        self._charged = 0

    def crashed(self, tasks: list[Request]) -> Request | None:
        """A process that was ready ended unasked and held ``tasks``; returns the one to blame, or None."""
        culprit = tasks[0] if len(tasks) == 1 and self._is_to_blame(tasks[0]) else None
        for task in tasks:
            self._at_crash[_key(task)] = self._successes
            self._at_crash.move_to_end(_key(task))
        while len(self._at_crash) > REMEMBERED:
            self._at_crash.popitem(last=False)
        if culprit is None:
            self._at_count = self._successes
        else:
            self._charged += 1
        return culprit

    def _is_to_blame(self, task: Request) -> bool:
        before = self._at_crash.get(_key(task), self._at_count)
        return task.crashes > 0 and self._successes > before and self._charged < self._max_restarts


def _key(task: Request) -> tuple[str, str]:
    return task.queue, task.task_id
