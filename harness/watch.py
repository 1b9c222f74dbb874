"""``runqy-harness watch``: workers, queues, and tasks as they end; a screen, or lines where there is none.

What is seen comes from ``GET /_harness/view`` of a server that `serve` started; others have no such path.
"""

import shutil
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import httpx

from harness import values
from harness.failure import CommandFailed
from harness.parser import Parser, add_server

DONE, NOT_EMPTY = 0, 5
#: Structures of a queue whose tasks are not over.
UNFINISHED = ("pending", "active", "scheduled", "retry")
DEPTHS = (*UNFINISHED, "completed", "archived")
EVERY_S = 0.5
#: Tasks that are told of at one look; of the others it is said how many.
MOST_AT_ONCE = 20
#: Tasks that stay on the screen.
KEPT = 12
_WIDEST = 200


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; returns the exit status."""
    parser = Parser(
        "watch",
        "Watch a server that `serve` started: its workers, its queues, and tasks as they end; until Ctrl-C.",
        epilog=f"Exit status: {DONE}; {NOT_EMPTY} where --for was over before --until-empty came true; "
        "1 where the server could not be asked.",
    )
    add_server(parser)
    parser.add_argument("--for", dest="for_s", type=values.whole(1), metavar="SECONDS", help="not longer")
    parser.add_argument("--until-empty", action="store_true", help="until no task waits or runs")
    parser.add_argument("--plain", action="store_true", help="lines, on a terminal too")
    options = parser.parse_args(arguments)
    out = Screen(sys.stdout) if sys.stdout.isatty() and not options.plain else Lines(sys.stdout)
    with httpx.Client(
        base_url=options.server,
        headers={"Authorization": f"Bearer {options.key}"},
        trust_env=False,
        timeout=10,
    ) as client:
        return run(Server(client), out, options.for_s, options.until_empty)


@dataclass(frozen=True)
class View:
    """What there is at one moment. ``queues`` maps a name to its depths and counters."""

    workers: Sequence[Mapping[str, Any]] = ()
    queues: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ended: Sequence[str] = ()

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
        return View(answer["workers"], answer["queues"], answer["ended"])

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
        if answer.status_code == httpx.codes.NOT_FOUND:
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
        for gone in self._said.keys() - lines.keys():
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
        self._out.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
        self._out.flush()


class Screen:
    """The whole picture, drawn anew in the same place."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._recent: deque[str] = deque(maxlen=KEPT)
        self._height = 0

    def show(self, view: View, ended: Sequence[Mapping[str, Any]], more: int) -> None:
        """Draw it."""
        self._recent.extend(f"{time.strftime('%H:%M:%S')}  {task_line(task)}" for task in ended)
        if more:
            self._recent.append(f"          … and {more} more tasks ended")
        columns, rows = shutil.get_terminal_size()
        lines = [line[: columns - 1] for line in picture(view, self._recent)][: rows - 1]
        up = f"\x1b[{self._height}A" if self._height else ""
        self._out.write(up + "\r\x1b[J" + "".join(f"{line}\n" for line in lines))
        self._out.flush()
        self._height = len(lines)


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
    return [*lines, "", "TASKS AS THEY END", *(recent or ["none so far"])]


def worker_line(worker: Mapping[str, Any]) -> str:
    """A worker's state, in words."""
    words = [str(worker.get("status")), "healthy" if worker.get("healthy") else "not healthy"]
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


def task_line(task: Mapping[str, Any]) -> str:
    """A task's end, in words; long results and errors are cut."""
    what = task.get("Result") if task.get("state") == "completed" else task.get("LastErr")
    line = f"task {task['id']}  {task.get('queue', '')}  {task['state']}  {what or ''}"
    line = "".join(char if char.isprintable() else " " for char in line).rstrip()
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"
