"""The tasks one process holds, oldest first, and the time limits they are under.

Pure bookkeeping with one promise: each task that is added leaves exactly once, by :meth:`InFlight.answered`
or by :meth:`InFlight.clear`. A task whose outcome is *decided* (its limit passed, or it was cancelled) can no
longer be answered; it leaves, with that outcome, when its process has ended, so that no worker runs it again
while the old run is still alive.
"""

from dataclasses import dataclass

from appliance.process.outcome import Cancelled, TimedOut
from appliance.process.runner import Deliver, Request


@dataclass(slots=True)
class Entry:
    """One task and its receiver; ``oldest_since_s`` is None until it is the oldest."""

    request: Request
    deliver: Deliver
    added_s: float
    oldest_since_s: float | None = None
    decided: TimedOut | Cancelled | None = None


class InFlight:
    """See the module. Times are monotonic seconds."""

    def __init__(self) -> None:
        # In the order of submission: the first is the oldest, whose run limit counts.
        self._entries: dict[str, Entry] = {}
        self._begun = False
        # How many tasks have a deadline: with none, only the oldest task need be looked at.
        self._deadlines = 0
        #: Answers that belonged to no task it held.
        self.ignored_answers = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._entries

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The ids of the tasks, oldest first."""
        return tuple(self._entries)

    @property
    def only(self) -> str | None:
        """The id of the one task that runs; None where none does, or several."""
        return next(iter(self._entries)) if self._begun and len(self._entries) == 1 else None

    @property
    def timed_out(self) -> tuple[str, ...]:
        """The ids of those that ran over a limit, oldest first."""
        return tuple(
            task_id for task_id, entry in self._entries.items() if isinstance(entry.decided, TimedOut)
        )

    def requests(self) -> list[Request]:
        """The tasks as they were submitted, oldest first."""
        return [entry.request for entry in self._entries.values()]

    def begin(self, now_s: float) -> None:
        """The process is at work: run limits count from now on at the earliest."""
        self._begun = True
        self._mark_oldest(now_s)

    def add(self, request: Request, deliver: Deliver, now_s: float) -> None:
        """Take a task in. Its id must be new here: answers carry nothing else to tell tasks apart."""
        if request.task_id in self._entries:
            raise KeyError(request.task_id)
        self._entries[request.task_id] = Entry(request, deliver, now_s)
        self._deadlines += request.deadline_monotonic_s is not None
        self._mark_oldest(now_s)

    def answered(self, task_id: str, now_s: float) -> Entry | None:
        """Remove a task; None for one that is unknown, gone, decided, or was not sent yet."""
        entry = self._entries.get(task_id)
        # A process that is not yet at work was sent nothing: an answer from it cannot be about this run.
        if entry is None or entry.decided is not None or not self._begun:
            self.ignored_answers += 1
            return None
        del self._entries[task_id]
        self._deadlines -= entry.request.deadline_monotonic_s is not None
        self._mark_oldest(now_s)
        return entry

    def limit(self, task_id: str, run_limit_s: float | None) -> None:
        """Bound a task's run by this from now on; an unknown one is nothing to do."""
        entry = self._entries.get(task_id)
        if entry is not None:
            entry.request = entry.request._replace(run_limit_s=run_limit_s)

    def decide(self, task_id: str, outcome: TimedOut | Cancelled) -> bool:
        """Decide how the task ends; False for one that is unknown or decided already."""
        entry = self._entries.get(task_id)
        # The first decision stands: a cancellation may come while the process of a timed-out task is ended.
        if entry is None or entry.decided is not None:
            return False
        entry.decided = outcome
        return True

    def clear(self) -> list[Entry]:
        """Remove all tasks, and return them: the process has ended."""
        entries = list(self._entries.values())
        self._entries.clear()
        self._deadlines = 0
        return entries

    def due_s(self) -> float | None:
        """Return when the next limit passes; None where no task is under one."""
        if not self._entries:
            return None
        if self._deadlines:
            # Any of them may be the next: a deadline runs from the start, whichever task is the oldest.
            limits = [limit for entry in self._entries.values() for limit, _ in _limits(entry)]
            return min(limits, default=None)
        # A run's limit counts from being the oldest, so without deadlines only that one is under any.
        oldest = next(iter(self._entries.values()))
        run_limit_s = oldest.request.run_limit_s
        if run_limit_s is None or oldest.oldest_since_s is None or oldest.decided is not None:
            return None
        return oldest.oldest_since_s + run_limit_s

    def overdue(self, now_s: float) -> list[tuple[str, TimedOut]]:
        """Return the tasks whose limit has passed, each with its outcome."""
        found = []
        for task_id, entry in self._entries.items():
            passed = [(limit, reason) for limit, reason in _limits(entry) if limit <= now_s]
            if passed:
                # The earlier of two limits is the reason, whichever is noticed first.
                found.append((task_id, TimedOut(min(passed)[1])))
        return found

    def _mark_oldest(self, now_s: float) -> None:
        if not self._begun or not self._entries:
            return
        oldest = next(iter(self._entries.values()))
        # Once per task: answers of the tasks behind it must not restart its run limit.
        if oldest.oldest_since_s is None:
            oldest.oldest_since_s = now_s


def _limits(entry: Entry) -> list[tuple[float, str]]:
    limits: list[tuple[float, str]] = []
    if entry.decided is not None:
        return limits
    request = entry.request
    if request.deadline_monotonic_s is not None:
        limits.append((request.deadline_monotonic_s, "deadline: it passed during the run"))
    if request.run_limit_s is not None and entry.oldest_since_s is not None:
        reason = f"timeout: still running after {request.run_limit_s:g} s"
        limits.append((entry.oldest_since_s + request.run_limit_s, reason))
    return limits
