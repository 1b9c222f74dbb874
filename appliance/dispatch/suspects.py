"""Suspects: tasks that wait to run alone, because a run of theirs ended in a crash of the task process. Pure.

Where several tasks run at once, a crash ends them all, and each of them may be the one to blame. So each runs
alone the next time: the innocent ones succeed, and the guilty one costs no other task anything. A suspect
that has come waits until nothing runs, and nothing else is started before it has ended.
"""

from appliance.dispatch.run import Run


class Suspects:
    """Those of one dispatcher, oldest first. ``alone`` is false where each task has its own process."""

    __slots__ = ("_alone", "running", "runs")

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self.runs: dict[str, Run] = {}
        #: The suspect that runs now.
        self.running: str | None = None

    @property
    def any(self) -> bool:
        """Whether one runs or waits: nothing else is started then."""
        return self.running is not None or bool(self.runs)

    def concerns(self, run: Run) -> bool:
        """Whether a task has to run alone."""
        return self._alone and run.request.crashes > 0

    def add(self, run: Run) -> None:
        """Keep one until nothing runs."""
        self.runs[run.request.task_id] = run

    def take(self, *, idle: bool) -> Run | None:
        """Take the next one out to run it; None while anything runs."""
        if not idle or self.running is not None or not self.runs:
            return None
        self.running = next(iter(self.runs))
        return self.runs.pop(self.running)

    def ended(self, task_id: str) -> None:
        """A task has ended."""
        if self.running == task_id:
            self.running = None

    def take_all(self) -> list[Run]:
        """Take out all that wait: nothing can be started now."""
        runs = list(self.runs.values())
        self.runs.clear()
        return runs
