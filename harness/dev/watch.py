"""``runqy-harness watch``: workers, queues, and tasks as they end; a screen, or lines where there is none.

What is seen comes from ``GET /_harness/view`` of a server that `serve` started; others have no such path.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import httpx

from harness.failure import CommandFailed
from harness.output import words
from harness.output.terminal import Terminal, one_line

DONE, NOT_EMPTY = 0, 5
#: Structures of a queue whose tasks are not over.
UNFINISHED = ("pending", "active", "scheduled", "retry")
DEPTHS = (*UNFINISHED, "completed", "archived")
EVERY_S = 0.5
#: Tasks that are named at one look; of the others only the number is.
MOST_AT_ONCE = 20
#: Tasks that stay on the screen.
KEPT = 12
_WIDEST = 200


@dataclass(frozen=True)
class View:
    """What there is at one moment.

    ``queues`` maps a name to its depths and counters; ``progress`` is of running tasks that have said how far
    they are.
    """

    workers: Sequence[Mapping[str, Any]] = ()
    queues: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ended: Sequence[str] = ()
    progress: Sequence[Mapping[str, Any]] = ()

    @property
    def over(self) -> int:
        """How many tasks are kept that are over."""
        return sum(depths["completed"] + depths["archived"] for depths in self.queues.values())

    @property
    def empty(self) -> bool:
        """Whether no task waits or runs."""
        return not any(depths[name] for depths in self.queues.values() for name in UNFINISHED)


class Server:
    """What can be asked; every failure is a :class:`~harness.failure.CommandFailed`."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def view(self) -> View:
        """How things are now."""
        answer = self._get("/_harness/view")
        return View(answer["workers"], answer["queues"], answer["ended"], answer["progress"])

    def task(self, task_id: str) -> Mapping[str, Any]:
        """A task as the API shows it; nothing but its id where it is gone."""
        answer = self._get(f"/queue/{task_id}", missing={"Info": {"id": task_id, "state": "gone"}})
        info: Mapping[str, Any] = answer["Info"]
        return info

    def _get(self, path: str, missing: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = self._client.get(path)
        except httpx.HTTPError as exc:
            raise CommandFailed(f"{self._client.base_url}: {exc or type(exc).__name__}") from exc
        # The second: the reverse lookup has outlived the task.
        gone = answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR and "task not found" in answer.text
        if answer.status_code == httpx.codes.NOT_FOUND or gone:
            if missing is None:
                raise CommandFailed(f"{self._client.base_url} has no {path}: expected what `serve` started")
            return missing
        if answer.status_code != httpx.codes.OK:
            raise CommandFailed(f"{self._client.base_url}{path} answered {answer.status_code}: {answer.text}")
        return answer.json()


def run(server: Server, out: "Lines | Screen", for_s: float | None, until_empty: bool) -> int:
    """Watch until it is to end; returns the exit status."""
    end_s = time.monotonic() + for_s if for_s is not None else float("inf")
    view = server.view()
    known = set(view.ended)
    out.show(view, [], 0)
    while not (until_empty and view.empty):
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return NOT_EMPTY if until_empty else DONE
        time.sleep(min(EVERY_S, left_s))
        before, view = view, server.view()
        news = [task_id for task_id in view.ended if task_id not in known]
        known.update(news)
        shown = [server.task(task_id) for task_id in news[:MOST_AT_ONCE]]
        # Of a flood only the last are told apart.
        out.show(view, shown, max(len(news), view.over - before.over) - len(shown))
    return DONE


class Lines:
    """A line for each thing that changed: for pipes, files and CI."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._said: dict[str, str] = {}

    def show(self, view: View, ended: Sequence[Mapping[str, Any]], more: int) -> None:
        """Say what is new."""
        lines = {f"worker {each['worker_id']}": worker_line(each) for each in view.workers}
        lines |= {f"queue {name}": depths_line(depths) for name, depths in view.queues.items()}
        lines |= {f"task {task['id']}": progress_line(task) for task in view.progress}
        for gone in self._said.keys() - lines.keys():
            # How a task ends is said below.
            if not gone.startswith("task "):
                self._say(f"{gone}  gone")
            del self._said[gone]
        for subject, line in lines.items():
            if self._said.get(subject) != line:
                self._said[subject] = line
                self._say(f"{subject}  {line}")
        for task in ended:
            self._say(task_line(task))
        if more:
            self._say(f"… and {more} more tasks ended")

    def _say(self, text: str) -> None:
        self._out.write(f"{time.strftime('%H:%M:%S')}  {one_line(text)}\n")
        self._out.flush()


class Screen:
    """The whole picture, drawn again in the same place."""

    def __init__(self, out: TextIO) -> None:
        self._terminal = Terminal(out)
        self._recent: deque[str] = deque(maxlen=KEPT)
        self._height = 0

    def show(self, view: View, ended: Sequence[Mapping[str, Any]], more: int) -> None:
        """Draw it."""
        self._recent.extend(f"{time.strftime('%H:%M:%S')}  {task_line(task)}" for task in ended)
        if more:
            self._recent.append(f"          … and {more} more tasks ended")
        self._height = self._terminal.redraw(picture(view, self._recent), self._height)


def picture(view: View, recent: Sequence[str]) -> list[str]:
    """The screen's lines."""
    names = ["WORKER", *(str(each["worker_id"]) for each in view.workers)]
    width = max(map(len, names))
    lines = [f"{'WORKER':{width}}  STATE"]
    lines += [f"{each['worker_id']:{width}}  {worker_line(each)}" for each in view.workers] or ["none"]
    wide = max([len("QUEUE"), *map(len, view.queues)])
    lines += ["", f"{'QUEUE':{wide}}  " + "  ".join(f"{name.upper():>9}" for name in DEPTHS)]
    lines += [
        f"{name:{wide}}  " + "  ".join(f"{depths[each]:>9}" for each in DEPTHS)
        for name, depths in view.queues.items()
    ] or ["none"]
    if view.progress:
        lines += ["", "TASKS THAT RUN", *(f"{task['id']}  {progress_line(task)}" for task in view.progress)]
    return [*lines, "", "TASKS AS THEY END", *(recent or ["none so far"])]


def worker_line(worker: Mapping[str, Any]) -> str:
    """A worker's state, in words."""
    words = [str(worker.get("status")), "healthy" if worker.get("healthy") else "not healthy"]
    words += ["quiet"] if worker.get("quiet") else []
    words += ["stale"] if worker.get("stale") else []
    recovery = worker.get("recovery")
    if isinstance(recovery, Mapping):
        words += [
            f"{parent} {state.get('state')} ({state.get('total_restarts')} restarts)"
            for parent, state in recovery.items()
            if isinstance(state, Mapping)
        ]
    return ", ".join(words)


def depths_line(depths: Mapping[str, int]) -> str:
    """A queue's depths, in words."""
    return ", ".join(f"{depths[name]} {name}" for name in DEPTHS)


def progress_line(task: Mapping[str, Any]) -> str:
    """How far a running task is, in words."""
    return f"{task['queue']}  active  {words.progress(task['progress'])}"


def task_line(task: Mapping[str, Any]) -> str:
    """A task's end, in words; long results and errors are cut."""
    what = task.get("Result") if task.get("state") == "completed" else task.get("LastErr")
    line = f"task {task['id']}  {task.get('queue', '')}  {task['state']}  {what or ''}"
    line = one_line(line).rstrip()
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"
