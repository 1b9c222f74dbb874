"""The tasks one process holds, oldest first, and the time limits they are under.

Pure bookkeeping with one promise: each task that is added leaves exactly once, by :meth:`answered`
or by :meth:`clear`. A *doomed* task (its limit passed, or it was cancelled) can no longer be answered;
it leaves, with its verdict, when its process has ended, so that nobody runs it again while the old
run is still alive.
"""

from dataclasses import dataclass

from appliance.process.work import Cancelled, Deliver, Expired, Request


@dataclass(slots=True)
class Entry:
    """One task and whom to tell; ``oldest_since_s`` is None until it is the oldest."""

    request: Request
    deliver: Deliver
    oldest_since_s: float | None = None
    verdict: Expired | Cancelled | None = None


class InFlight:
    """See the module. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._begun = False
        self._deadlines = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._entries

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The tasks, oldest first."""
        return tuple(self._entries)

    def requests(self) -> list[Request]:
        """The same as requests."""
        return [entry.request for entry in self._entries.values()]

    def begin(self, now_s: float) -> None:
        """Run limits count from now on at the earliest: the process is at work."""
        self._begun = True
        self._mark_oldest(now_s)

    def add(self, request: Request, deliver: Deliver, now_s: float) -> None:
        """Take a task in. Its id must be new here: answers carry nothing else to tell tasks apart."""
        if request.task_id in self._entries:
            raise KeyError(request.task_id)
        self._entries[request.task_id] = Entry(request, deliver)
        self._deadlines += request.deadline_monotonic_s is not None
        self._mark_oldest(now_s)

    def answered(self, task_id: str, now_s: float) -> Entry | None:
        """Let a task go; None for one that is unknown, gone, doomed, or was not sent yet."""
        entry = self._entries.get(task_id)
        if entry is None or entry.verdict is not None or not self._begun:
            return None
        del self._entries[task_id]
        self._deadlines -= entry.request.deadline_monotonic_s is not None
        self._mark_oldest(now_s)
        return entry

    def doom(self, task_id: str, verdict: Expired | Cancelled) -> bool:
        """Settle that the task ends so; False for one that is unknown or doomed already."""
        entry = self._entries.get(task_id)
        if entry is None or entry.verdict is not None:
            return False
        entry.verdict = verdict
        return True

    def clear(self) -> list[Entry]:
        """Let all go: the process has ended."""
        entries = list(self._entries.values())
        self._entries.clear()
        self._deadlines = 0
        return entries

    def due_s(self) -> float | None:
        """When the next limit passes; None where no task is under one."""
        if not self._entries:
            return None
        if self._deadlines:
            limits = [limit for entry in self._entries.values() for limit, _ in _limits(entry)]
            return min(limits, default=None)
        # A run's limit counts from being the oldest, so without deadlines only that one is under any.
        oldest = next(iter(self._entries.values()))
        run_limit_s = oldest.request.run_limit_s
        if run_limit_s is None or oldest.oldest_since_s is None or oldest.verdict is not None:
            return None
        return oldest.oldest_since_s + run_limit_s

    def overdue(self, now_s: float) -> list[tuple[str, Expired]]:
        """The tasks whose limit has passed, each with its verdict."""
        found = []
        for task_id, entry in self._entries.items():
            passed = [(limit, reason) for limit, reason in _limits(entry) if limit <= now_s]
            if passed:
                found.append((task_id, Expired(min(passed)[1])))
        return found

    def _mark_oldest(self, now_s: float) -> None:
        if not self._begun or not self._entries:
            return
        oldest = next(iter(self._entries.values()))
        if oldest.oldest_since_s is None:
            oldest.oldest_since_s = now_s


def _limits(entry: Entry) -> list[tuple[float, str]]:
    limits: list[tuple[float, str]] = []
    if entry.verdict is not None:
        return limits
    request = entry.request
    if request.deadline_monotonic_s is not None:
        limits.append((request.deadline_monotonic_s, "deadline: it passed during the run"))
    if request.run_limit_s is not None and entry.oldest_since_s is not None:
        reason = f"timeout: still running after {request.run_limit_s:g} s"
        limits.append((entry.oldest_since_s + request.run_limit_s, reason))
    return limits
