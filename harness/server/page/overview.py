"""The page's sections about everything: queues, tasks, workers. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.output import words
from harness.queue.views import STATES, QueueView, TaskView, WorkerView
from harness.server.page import html
from harness.server.page.view import View

#: The colour of a task's state.
TONES = {
    "pending": "calm",
    "active": "warn",
    "scheduled": "calm",
    "retry": "warn",
    "completed": "good",
    "archived": "bad",
}
_OLD = "<li>what is shown may be old</li>"
#: A larger whole is none that people could see a part of.
_MOST_PARTS = 1e15
_RECOVERY_TONES = {"idle": "good", "recovering": "warn"}
#: Parent queues of a worker that are listed.
_MOST_PARENTS = 20
#: Characters of an id in a list: of a UUID enough to tell tasks apart, on one line.
_ID_CHARS = 13


def head(view: View, redis: str, problem: str = "") -> str:
    """The page's head; ``redis`` is what Redis does, ``problem`` what is wrong with that, or empty."""
    state = html.pill(f"Redis {redis}", "bad" if problem else "good")
    back = html.link("/", "all tasks") if view != View() else ""
    why = f'<ul class="reasons"><li>{html.text(problem)}</li>{_OLD}</ul>' if problem else ""
    return f'<div class="row"><h1>runqy on this machine</h1>{state}{back}</div>{why}'


def queues(found: Sequence[QueueView], view: View) -> str:
    """The queues with links to their tasks."""
    if not found:
        return '<h2>Queues</h2><p class="dim">no task has been sent so far</p>'
    rows = []
    for queue in found:
        name = html.link(View(queue.name).url, html.text(queue.name), current=view == View(queue.name))
        paused = ' <span class="warn">paused</span>' if queue.paused else ""
        counts = [_count(queue, state, view) for state in STATES]
        rows.append([name + paused, *counts, str(queue.processed), str(queue.failed)])
    heads = ["queue", *STATES, "processed", "failed"]
    return "<h2>Queues</h2>" + html.table(heads, rows, numbers=heads[1:])


def _count(queue: QueueView, state: str, view: View) -> str:
    count, there = queue.depths.get(state, 0), View(queue.name, state)
    return html.link(there.url, str(count), current=view == there) if count else '<span class="dim">0</span>'


def tasks(found: Sequence[TaskView], view: View, total: int) -> str:
    """The tasks of ``view``, of which there are ``total``."""
    choices = [("any state", View(view.queue)), *((state, View(view.queue, state)) for state in STATES)]
    links = " ".join(html.link(each.url, word, current=each == view) for word, each in choices)
    where = f" of {html.text(view.queue)}" if view.queue else ""
    title = f'<div class="row"><h2>Tasks{where}</h2><nav>{links}</nav></div>'
    if not found:
        return f'{title}<p class="dim">none</p>'
    heads = ["task", "state", "queue", "payload", "retried", "when", "progress or error"]
    more = f'<p class="dim">and {total - len(found)} more</p>' if total > len(found) else ""
    rows = [_row(task) for task in found]
    return title + html.table(heads, rows, numbers=["retried"], long=["payload", heads[-1]]) + more


def _row(task: TaskView) -> list[str]:
    there = View(queue=task.queue, task=task.id)
    return [
        html.mono(html.link(there.url, html.text(task.id, _ID_CHARS)), "id"),
        f'<span class="{TONES.get(task.state, "bad")}">{html.text(task.state, 20)}</span>',
        html.text(task.queue, 60),
        html.mono(payload_cell(task)),
        str(task.retried),
        when(task),
        progress(task) if task.state == "active" else error_cell(task),
    ]


def payload_cell(task: TaskView) -> str:
    """The beginning of its payload, or the size of one that is too large for a list."""
    return _size_left_out(task, "payload") or html.cell(task.payload)


def error_cell(task: TaskView) -> str:
    """What of its last error says most, or the size of one that is too large for a list."""
    return _size_left_out(task, "error") or html.mono(html.gist(task.error), "bad")


def _size_left_out(task: TaskView, name: str) -> str:
    left_out = task.left_out.get(name)
    return f'<span class="dim">{html.size(left_out)}</span>' if left_out else ""


def when(task: TaskView) -> str:
    """The moment that matters in its state, in words."""
    words, wall_s = {
        "pending": ("waits since ", task.pending_since_s),
        "scheduled": ("due ", task.due_s),
        "retry": ("again at ", task.due_s),
        "completed": ("", task.completed_at_s),
        "archived": ("", task.failed_at_s),
    }.get(task.state, ("", None))
    moment = html.moment(wall_s)
    return f"{words}{moment}" if moment else ""


def progress(task: TaskView) -> str:
    """What its task code said of how far it is, with a bar where that is a part of a whole."""
    if task.progress is None:
        return ""
    value = task.progress.value
    said = html.mono(html.text(words.progress(value)))
    part = _part(value)
    return said if part is None else f"{html.meter(part)} {said}"


def _part(value: Any) -> float | None:
    """The number from 0 to 1 that progress is, or that ``done`` and ``of`` make; None for all else."""
    if isinstance(value, Mapping):
        done, of = (value.get(name) for name in ("done", "of"))
        if any(isinstance(each, bool) or not isinstance(each, int | float) for each in (done, of)):
            return None
        return done / of if done is not None and of and 0 <= done <= of < _MOST_PARTS else None
    return value if isinstance(value, float) and 0 <= value <= 1 else None


def workers(found: Sequence[WorkerView]) -> str:
    """The workers with the state of their recovery."""
    if not found:
        return '<h2>Workers</h2><p class="dim">none</p>'
    rows = [
        [
            html.mono(html.link(View(worker=each.id).url, html.text(each.id, 60))),
            state(each),
            recovery(each),
            queues_of(each),
            html.number(each.concurrency),
            html.moment(each.last_beat_s),
        ]
        for each in found
    ]
    heads = ["worker", "state", "task process", "queues", "concurrency", "last heartbeat"]
    return "<h2>Workers</h2>" + html.table(heads, rows, numbers=["concurrency"])


def state(worker: WorkerView) -> str:
    """A worker's state, in a word or two."""
    if worker.stale:
        return '<span class="bad">stale</span>'
    word = html.text(worker.status, 40)
    if worker.status != "running":
        return f'<span class="calm">{word}</span>'
    if not worker.healthy:
        return f'<span class="bad">{word}, not healthy</span>'
    return f'<span class="calm">{word}, quiet</span>' if worker.quiet else f'<span class="good">{word}</span>'


def recovery(worker: WorkerView) -> str:
    """What a worker's heartbeat says of the recovery of its task processes, by parent queue."""
    parents = list(worker.recovery.items())[:_MOST_PARENTS]
    return "<br>".join(_recovery(parent, found) for parent, found in parents)


def _recovery(parent: str, found: Mapping[str, Any]) -> str:
    word = str(found.get("state", ""))
    restarts = html.number(found.get("total_restarts")) or "?"
    fails = html.number(found.get("consecutive_fails"))
    told = f'<span class="{_RECOVERY_TONES.get(word, "bad")}">{html.text(word, 40)}</span>'
    failing = f", consecutive failures: {fails}" if fails not in {"", "0"} else ""
    return f"{html.text(parent, 60)}: {told}, restarts: {restarts}{failing}"


def queues_of(worker: WorkerView) -> str:
    """The queues it serves, with their priorities."""
    served = list(worker.queues.items())[:_MOST_PARENTS]
    return ", ".join(f"{html.text(name, 60)} ({html.number(priority)})" for name, priority in served)
