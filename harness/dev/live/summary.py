"""What happened in a run of `dev`, counted from the worker's log. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.dev.live.tell import count, took

#: Events by which tasks are counted, and the words for them.
_ENDS = {"task.completed": "completed", "task.archived": "failed for good", "task.retry": "retried"}
#: The same in a summary of lines that were left out.
_LEFT_OUT = {"completed": "completed", "archived": "failed for good", "retried": "retried"}
#: Tasks that failed and are named at the end.
_NAMED = 5


class Summary:
    """Takes each event; says at the end what it comes to."""

    def __init__(self) -> None:
        self._ends: Counter[str] = Counter()
        self._reloads: Counter[str] = Counter()
        self._crashes = 0
        self._runs = 0
        self._run_s = [0.0, 0.0]
        self._failed: list[str] = []

    def take(self, event: Mapping[str, Any]) -> None:
        """Count it."""
        match event.get("event"):
            case "task.completed" | "task.archived" | "task.retry" as name:
                self._ends[_ENDS[name]] += 1
                if "run_s" in event:
                    self._add_runs(1, event["run_s"], event["run_s"])
                if name == "task.archived":
                    self._failed.append(event["task_id"])
            case "task.summary":
                for kind, what in _LEFT_OUT.items():
                    self._ends[what] += event.get(kind, 0)
                tasks = event["lines_left_out"]
                self._add_runs(tasks, event["mean_run_s"] * tasks, event["longest_run_s"])
            case "redeploy.done" | "redeploy.refused" as name:
                self._reloads[name] += 1
            case "process.crashed":
                self._crashes += 1

    @property
    def well(self) -> bool:
        """Whether nothing failed for good."""
        return not self._ends["failed for good"]

    def lines(self, lasted_s: float, unfinished: int) -> Sequence[str]:
        """In words; ``unfinished`` tasks are left in the queue."""
        parts = [f"{number:,} {what}" for what in _ENDS.values() if (number := self._ends[what])]
        parts += [f"{unfinished:,} not over"] if unfinished else []
        lines = [f"Tasks: {', '.join(parts) if parts else 'none'}; {took(lasted_s)} in all"]
        if self._runs:
            total_s, longest_s = self._run_s
            lines.append(f"a run took {took(total_s / self._runs)} on average, {took(longest_s)} at most")
        done, refused = self._reloads["redeploy.done"], self._reloads["redeploy.refused"]
        if done or refused:
            lines.append(f"{count(done, 'reload')}" + (f", {refused} refused" if refused else ""))
        if self._crashes:
            lines.append(f"the task process crashed {count(self._crashes, 'time')}")
        if self._failed:
            more = len(self._failed) - _NAMED
            named = [f"  {task_id}" for task_id in self._failed[:_NAMED]]
            lines += ["failed for good:", *named, *([f"  and {more} more"] if more > 0 else [])]
        return lines

    def _add_runs(self, runs: int, total_s: float, longest_s: float) -> None:
        self._runs += runs
        self._run_s = [self._run_s[0] + total_s, max(self._run_s[1], longest_s)]
