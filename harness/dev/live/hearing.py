"""What a worker's log says, told to people. What means nothing to a task author is left out."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

from harness.dev.live.tell import Teller, count, fields, took
from harness.output.terminal import json_line, one_line
from harness.queue import asynq

#: Fields that every event has, or that say nothing here.
_EVERYWHERE = ("event", "level", "timestamp", "worker_id", "parent", "instance_id")
#: Warnings and errors that are told in other words, or are the consequence of something told.
_TOLD_OTHERWISE = frozenset(
    {
        "redeploy.refused",
        "process.restart_scheduled",
        "process.stopping",
        "process.exited",
        "isolation.lacking",
        "deploy.environment_recreated",
    }
)
#: What stands before the name of a file of task code, or of a package, behind the deployment's folder.
_SLOT = r"/\.?[A-Za-z0-9_-]+(?:\.[0-9]+)?(?:\.venv/lib/python[0-9.]+/site-packages)?/"
#: The names in a line that is a task's progress.
_PROGRESS = ({"progress"}, {"task_id", "progress"})
#: Seconds that a result may take to be in Redis once the log has the task's end.
RESULT_S = 3.0


class Hearing:
    """Tells events; ``db`` is where results and whole errors are."""

    def __init__(self, teller: Teller, db: redis.Redis, keep_results: bool, places: Sequence[str]) -> None:
        """``places`` are folders of deployments: code that lies in one is shown as if it lay here."""
        self._teller = teller
        self._place = re.compile(f"(?:{'|'.join(map(re.escape, places))}){_SLOT}")
        self._db = db
        self._keep_results = keep_results
        self._awaited: list[tuple[Mapping[str, Any], float]] = []
        self._warned: set[str] = set()
        self._heard: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "process.output": self._output,
            "task.returned": self._returned,
            "task.summary": self._summary,
            "deploy.environment": self._environment,
            "deploy.progress": self._progress,
            "deploy.output": self._progress,
            "process.crashed": self._crashed,
            "process.degraded": self._degraded,
            "worker.failed": self._failed,
        }

    def near(self, text: str) -> str:
        """``text`` with the names of deployed files as they are in the folder."""
        return self._place.sub("", text)

    def hear(self, event: Mapping[str, Any], now_s: float) -> None:
        """Tell one event."""
        name = event.get("event")
        if name is None:
            self._teller.printed(event.get("text", ""), "stderr", "")
        elif name in ("task.completed", "task.retry", "task.archived"):
            self._awaited.append((event, now_s + RESULT_S))
        elif name in self._heard:
            self._heard[name](event)
        elif event.get("level") in ("warning", "error", "critical") and name not in _TOLD_OTHERWISE:
            self._warn(f"{name}: {fields(event, *_EVERYWHERE)}")

    def tick(self, now_s: float) -> None:
        """Tell the ends of tasks whose outcome is in Redis now."""
        # In their order: one that is late holds up the others for a moment.
        while self._awaited:
            event, until_s = self._awaited[0]
            if not self._told_end(event, last=now_s >= until_s):
                return
            del self._awaited[0]

    def flush(self) -> None:
        """Tell the rest, in Redis or not."""
        self.tick(float("inf"))

    def _told_end(self, event: Mapping[str, Any], *, last: bool) -> bool:
        task_id, name = event["task_id"], event["event"]
        stored = asynq.get_task(self._db, event["queue"], task_id)
        # A retry that is due at once is over before we look, its error is not.
        there = stored is not None and (
            stored.state == "completed" if name == "task.completed" else bool(stored.fields.get("error_msg"))
        )
        if not there and not last and (self._keep_results or name != "task.completed"):
            return False
        if name == "task.completed":
            result = stored.fields.get("result") if stored and there else None
            self._teller.completed(task_id, event.get("run_s"), _readable(result or "null"))
            return True
        error = stored.fields.get("error_msg") if stored and there else None
        again = f"attempt {event['attempt']} failed, again in {took(event.get('delay_s', 0))}"
        what = again if name == "task.retry" else "failed for good"
        error = self.near(error or event.get("error", ""))
        self._teller.failed(task_id, event.get("run_s"), what, error)
        return True

    def _warn(self, text: str) -> None:
        # Once: each reload comes upon the same oddities again.
        if text not in self._warned:
            self._warned.add(text)
            self._teller.warning(text)

    def _output(self, event: Mapping[str, Any]) -> None:
        progress = _progress(event["text"])
        if progress is not None:
            self._teller.progress(progress, event.get("task_id", ""))
            return
        self._teller.printed(self.near(event["text"]), event["src"], event.get("task_id", ""))

    def _returned(self, event: Mapping[str, Any]) -> None:
        self._teller.aside(f"back to the queue: {event['reason']}", event["task_id"])

    def _summary(self, event: Mapping[str, Any]) -> None:
        many = count(event["lines_left_out"], "more task")
        self._teller.aside(f"… and {many} ended, after {took(event['mean_run_s'])} on average")

    def _environment(self, event: Mapping[str, Any]) -> None:
        if event["step"] != "keep":
            none = event["dependencies"] == "no file"
            what = "making an environment" if none else f"installing {event['dependencies']}"
            self._teller.aside(f"{what} with {event['installer']}: {event['reason']}")

    def _progress(self, event: Mapping[str, Any]) -> None:
        # What a program prints speaks for itself.
        self._teller.waiting(event.get("line") or fields(event, *_EVERYWHERE))

    def _crashed(self, event: Mapping[str, Any]) -> None:
        self._teller.bad(f"the task process crashed: {event['exit']}, after {took(event['uptime_s'])}")

    def _failed(self, event: Mapping[str, Any]) -> None:
        self._teller.bad(self.near(event.get("reason") or "the worker has failed"))

    def _degraded(self, _: Mapping[str, Any]) -> None:
        self._teller.bad("the task process crashed too often; it is started again when you save a change")


def _readable(result: str) -> str:
    """A result as JSON for people; as it stands where Python cannot read it (a huge number, say)."""
    try:
        return json_line(json.loads(result))
    except (ValueError, RecursionError):
        return one_line(result)


def _progress(line: str) -> str | None:
    """The progress that a line of output is, as JSON; None for any other."""
    if not line.lstrip().startswith("{") or '"progress"' not in line:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return json_line(found["progress"]) if found.keys() in _PROGRESS else None
