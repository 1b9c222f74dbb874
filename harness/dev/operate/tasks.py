"""``runqy-harness tasks``: lists and shows tasks, and does to them what an operator wants done."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from harness.dev.operate import ends
from harness.dev.operate.asking import confirm
from harness.dev.operate.queues import expand
from harness.failure import CommandFailed
from harness.output import table, words
from harness.output.table import Column
from harness.output.terminal import Style, Terminal, json_line, one_line, printable
from harness.queue.inspector import Inspector, NotThere
from harness.queue.operations import Gone, NotPossible, Operations
from harness.queue.views import STATES, OutputLine, TaskView

#: Seconds between two looks at a task that is being cancelled.
LOOK_EVERY_S = 0.1
_STATE_STYLES = {
    "active": Style.STRONG,
    "retry": Style.WARNING,
    "completed": Style.GOOD,
    "archived": Style.BAD,
    "scheduled": Style.ASIDE,
}
COLUMNS = (
    Column("TASK"),
    Column("QUEUE"),
    Column("STATE", style=_STATE_STYLES.get),
    Column("RETRIES", right=True),
    Column("WHEN"),
    Column("NOTE"),
)
#: What is done to tasks: the method of Operations, and what has happened to a task then.
ACTIONS = {"retry": "retried", "archive": "archived", "delete": "deleted", "cancel": "cancelled"}


@dataclass(frozen=True)
class Selection:
    """Which tasks: these ids, in ``queue`` where it is given, or all in ``state`` of the queues."""

    task_ids: Sequence[str]
    queues: Sequence[str]
    state: str | None


def list_(db: Any, queues: Sequence[str], state: str | None, limit: int, *, as_json: bool) -> int:
    """Print up to ``limit`` tasks of each queue and state."""
    inspector, found = Inspector(db), []
    for queue in expand(inspector, queues):
        for each in (state,) if state else STATES:
            found += inspector.tasks(queue, each, limit=limit)
    if as_json:
        for task in found:
            print(json_line(task.as_json()))
        return ends.DONE
    now_s = time.time()
    rows = [
        (task.id, task.queue, task.state, f"{task.retried}/{task.max_retry}", _when(task, now_s), _note(task))
        for task in found
    ]
    table.write(Terminal(sys.stdout), COLUMNS, rows)
    return ends.DONE


def show(db: Any, task_id: str, queue: str | None, *, as_json: bool) -> int:
    """Print all there is of one task."""
    inspector = Inspector(db)
    try:
        task = inspector.task(task_id, _queue_of(inspector, task_id, queue))
    except NotThere as exc:
        raise ends.Unknown(str(exc)) from exc
    output = inspector.output(task_id=task_id)
    if as_json:
        print(json_line({**task.as_json(), "output": [line.as_json() for line in output]}))
        return ends.DONE
    _describe(Terminal(sys.stdout), task, output, time.time())
    return ends.DONE


def logs(db: Any, task_id: str, *, as_json: bool) -> int:
    """Print what task code printed while the task ran, as far as Redis has it."""
    inspector = Inspector(db)
    lines = inspector.output(task_id=task_id)
    if not lines:
        try:
            inspector.queue_of(task_id)
        except NotThere as exc:
            raise ends.Unknown(str(exc)) from exc
    return _print_lines(lines, as_json=as_json)


def logs_of_file(path: Path, task_id: str, *, as_json: bool) -> int:
    """Print the same out of a worker's log, one JSON object a line."""
    try:
        with path.open(errors="replace") as log:
            return _print_lines(lines_of_log(log, task_id), as_json=as_json)
    except OSError as exc:
        raise CommandFailed(f"--log {path}: {exc.strerror}") from exc


def lines_of_log(log: TextIO, task_id: str) -> Iterator[OutputLine]:
    """The lines of output in a worker's JSON log that belong to a task; other lines are passed over."""
    for text in log:
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if (
            isinstance(event, dict)
            and event.get("event") == "process.output"
            and event.get("task_id") == task_id
        ):
            at = str(event.get("timestamp", ""))
            yield OutputLine(
                _milliseconds(at),
                str(event.get("worker_id", "")),
                str(event.get("src", "")),
                str(event.get("text", "")),
                task_id,
            )


def act(db: Any, action: str, selection: Selection, *, yes: bool, wait_s: float, as_json: bool) -> int:
    """Do ``action`` to the selected tasks, asking first where it destroys or is done to many.

    ``wait_s`` is how long a cancelled task may take to end. Returns the worst of the tasks' statuses.
    """
    inspector, operations = Inspector(db), Operations(db)
    tasks = _selected(inspector, selection)
    destroys = action in {"delete", "cancel"} or selection.state is not None
    if destroys and not yes and tasks:
        confirm(_question(action, tasks, selection))
    status = ends.DONE
    for task_id, queue in tasks:
        what = (action, queue, task_id, selection.state or "")
        status = max(status, _act(inspector, operations, what, wait_s, as_json=as_json))
    if selection.state is not None and not as_json:
        print(f"{len(tasks)} tasks")
    return status


def _act(
    inspector: Inspector,
    operations: Operations,
    what: tuple[str, str | None, str, str],
    wait_s: float,
    *,
    as_json: bool,
) -> int:
    action, queue, task_id, state = what
    try:
        if queue is None or not state:
            queue = _queue_of(inspector, task_id, queue)
        if action == "cancel":
            status, said = _cancel(inspector, operations, queue, task_id, wait_s)
        else:
            # Many may have moved on since they were listed and the question was asked.
            getattr(operations, action)(queue, task_id, state)
            status, said = ends.DONE, ACTIONS[action]
    except (NotThere, Gone) as exc:
        status, said = ends.UNKNOWN, str(exc)
    except NotPossible as exc:
        status, said = ends.NOT_POSSIBLE, str(exc)
    if as_json:
        print(json_line({"task_id": task_id, "queue": queue, "done": status == ends.DONE, "said": said}))
    elif status == ends.DONE:
        print(one_line(f"{task_id}  {said}"), flush=True)
    else:
        print(one_line(said), file=sys.stderr)
    return status


def _cancel(
    inspector: Inspector, operations: Operations, queue: str, task_id: str, wait_s: float
) -> tuple[int, str]:
    if not operations.cancel(queue, task_id):
        return ends.NOT_POSSIBLE, f"task {task_id}: no worker listens for tasks to cancel"
    until_s = time.monotonic() + wait_s
    while (state := _state(inspector, queue, task_id)) == "active":
        left_s = until_s - time.monotonic()
        if wait_s == 0:
            return ends.DONE, "its worker was told"
        if left_s <= 0:
            return ends.NOT_IN_TIME, f"task {task_id} is still active, {wait_s:g} s after it was cancelled"
        time.sleep(min(LOOK_EVERY_S, left_s))
    return ends.DONE, f"cancelled, and {state} now"


def _queue_of(inspector: Inspector, task_id: str, name: str | None) -> str:
    """The sub-queue a task is in: one that ``name`` means, where it is given."""
    return inspector.queue_of(task_id, expand(inspector, [name]) if name is not None else None)


def _state(inspector: Inspector, queue: str, task_id: str) -> str:
    try:
        return inspector.task(task_id, queue).state
    except NotThere:
        return "gone"


def _selected(inspector: Inspector, selection: Selection) -> list[tuple[str, str | None]]:
    """Ids and queues; the queue is None where it is to be looked for."""
    if selection.state is None:
        queue = selection.queues[0] if selection.queues else None
        return [(task_id, queue) for task_id in selection.task_ids]
    return [
        (task_id, queue)
        for queue in expand(inspector, selection.queues)
        for task_id in inspector.task_ids(queue, selection.state)
    ]


def _question(action: str, tasks: Sequence[tuple[str, str | None]], selection: Selection) -> str:
    if selection.state is not None:
        where = ", ".join(selection.queues)
        return f"{action} {len(tasks)} tasks that are {selection.state} in {where}?"
    ids = [task_id for task_id, _ in tasks]
    named = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
    more = " Its process is replaced." if action == "cancel" else ""
    return f"{action} {'task' if len(ids) == 1 else 'tasks'} {named}?{more}"


# For people ------------------------------------------------------------------------------------------


def _when(task: TaskView, now_s: float) -> str:
    match task.state:
        case "pending":
            return words.when(task.pending_since_s, now_s)
        case "scheduled" | "retry":
            return words.when(task.due_s, now_s)
        case "completed":
            return words.when(task.completed_at_s, now_s)
        case "archived":
            return words.when(task.failed_at_s, now_s)
        case _:
            return ""


def _note(task: TaskView) -> str:
    if task.broken:
        return task.broken
    if task.state == "active":
        return words.progress(task.progress.value) if task.progress else f"on {task.worker_id}"
    if task.state in {"retry", "archived"} and task.error:
        # What an exception says stands in the last line of its traceback.
        return task.error.strip().splitlines()[-1]
    return ""


def _describe(terminal: Terminal, task: TaskView, output: Sequence[OutputLine], now_s: float) -> None:
    style = _STATE_STYLES.get(task.state)
    state = terminal.paint(style, task.state) if style else one_line(task.state)
    facts: list[tuple[str, str]] = [
        ("task", task.id),
        ("queue", task.queue),
        ("type", task.type),
        ("retries", f"{task.retried} of {task.max_retry}"),
        ("taken", f"{task.attempt} times" if task.attempt else ""),
        ("crashes", str(task.crashes) if task.crashes else ""),
        ("worker", task.worker_id),
        ("waiting", _since(task.pending_since_s, now_s)),
        ("due", words.when(task.due_s, now_s)),
        ("lease", words.when(task.lease_until_s, now_s)),
        ("completed", words.when(task.completed_at_s, now_s)),
        ("purged", words.when(task.purge_at_s, now_s)),
        ("time limit", f"{task.timeout_s} s" if task.timeout_s else ""),
        ("deadline", words.when(task.deadline_s, now_s)),
        ("broken", task.broken),
    ]
    for name, text in facts:
        if text:
            terminal.line(f"{name:<12}{one_line(text)}")
        if name == "task":
            terminal.line(f"{'state':<12}{state}")
    if task.progress:
        at = words.when(task.progress.at_s, now_s)
        said = one_line(words.progress(task.progress.value))
        terminal.line(f"{'progress':<12}{said}, {at}, attempt {task.progress.attempt}")
    shown = task.as_json()
    _part(terminal, "payload", _pretty(shown["payload"]))
    if task.result is not None:
        _part(terminal, "result", _pretty(shown["result"]))
    if task.error:
        _part(terminal, "error", task.error)
    if task.failures:
        terminal.line(terminal.strong("\nattempts that failed"))
        for failure in task.failures:
            number = f"attempt {failure.number}" if failure.number else "last attempt"
            reason = (failure.error.strip().splitlines() or [""])[-1]
            facts_of = filter(None, (number, words.when(failure.at_s, now_s), failure.worker_id, reason))
            terminal.line(one_line("  ".join(facts_of)))
    if output:
        _part(terminal, "output", "\n".join(line.text for line in output))


def _part(terminal: Terminal, name: str, text: str) -> None:
    terminal.line(terminal.strong(f"\n{name}"))
    terminal.line(printable(text))


def _pretty(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _since(at_s: float | None, now_s: float) -> str:
    return words.length(now_s - at_s) if at_s is not None else ""


def _print_lines(lines: Iterable[OutputLine], *, as_json: bool) -> int:
    for line in lines:
        if as_json:
            print(json_line(line.as_json()))
        else:
            at = time.strftime("%H:%M:%S", time.localtime(line.at_ms / 1000))
            print(one_line(f"{at}  {line.source:<6}  {line.text}"))
    return ends.DONE


def _milliseconds(timestamp: str) -> int:
    try:
        return int(datetime.fromisoformat(timestamp).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
