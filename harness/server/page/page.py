"""The page as people see it: made here and escaped here, kept fresh by its one script."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from importlib.resources import files

import redis

from harness.queue import dossiers
from harness.queue.inspector import Inspector, NotThere
from harness.queue.views import STATES, QueueView, TaskView
from harness.server.page import detail, form, overview
from harness.server.page.detail import Traces
from harness.server.page.form import Form
from harness.server.page.guard import HEADERS
from harness.server.page.view import View

#: Tasks of a queue and state that are listed; where several are, of each of them.
MOST_TASKS, MOST_OF_EACH = 50, 10
#: The largest message, result or error that is read for a list, and for one task.
LISTED_BYTES, SHOWN_BYTES = 64 * 1024, 4 * 1024 * 1024
#: Seconds between two looks at Redis for a reader, and between two signs of life where nothing changes.
EVERY_S, SIGN_EVERY_S = 0.5, 10.0
#: Readers that are kept up to date at a time.
MOST_READERS = 32


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text()


def _source(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_STYLE, _SCRIPT = _asset("base.css") + _asset("page.css"), _asset("page.js")
TITLE = "runqy on this machine"
#: Headers of the page. Without a referrer a browser would not say whose form it sends.
PAGE_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": "default-src 'none'; "
    f"style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Page:
    """The page over what stands in Redis. ``key`` is what browsers are asked for; empty: nothing."""

    def __init__(self, db: redis.Redis, stopping: threading.Event, key: str) -> None:
        self.key = key
        self._db = db
        self._lists, self._single = (Inspector(db, most) for most in (LISTED_BYTES, SHOWN_BYTES))
        self._stopping = stopping
        self._readers = threading.BoundedSemaphore(MOST_READERS)

    def document(self, view: View, sent: Form, queues: Sequence[str]) -> str:
        """The whole page for ``view``, with ``sent`` in its form; ``queues`` are those it can send to."""
        sections = self.sections(view)
        filled = sent if sent.problem else self._again(view)
        cards = "".join(f'<section id="{name}">{content}</section>' for name, content in sections.items())
        form_html = form.render(filled, queues)
        head, _, rest = cards.partition("</section>")
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{TITLE}</title><style>{_STYLE}</style></head>"
            f"<body><main>{head}</section>{form_html}{rest}<footer>times are UTC · "
            '<span id="fresh">not live: reload to see what is new</span></footer></main>'
            f"<script>{_SCRIPT}</script></body></html>"
        )

    def sections(self, view: View) -> dict[str, str]:
        """The parts of the page that change, by their names, as HTML."""
        try:
            found = self._sections(view)
        except redis.RedisError as exc:
            # It answers, and with an error, where a key is of another type, say.
            word = "refuses" if isinstance(exc, redis.ResponseError) else "does not answer"
            return {"head": overview.head(view, word, str(exc) or type(exc).__name__)}
        return {"head": overview.head(view, "answers"), **found}

    def live(self, view: View) -> Generator[bytes, None, None]:
        """Server-sent events, one whenever something changed: a JSON object of the sections that did.

        It is over at once where there are too many readers, who come back later. The caller closes it.
        """
        if not self._readers.acquire(blocking=False):
            yield b"retry: 10000\n\n"
            return
        try:
            # How long a browser waits before it comes back after the end.
            yield b"retry: 1000\n\n"
            yield from self._changes(view)
        finally:
            self._readers.release()

    def _changes(self, view: View) -> Iterator[bytes]:
        shown: dict[str, str] = {}
        said_s = time.monotonic()
        while not self._stopping.is_set():
            sections = self.sections(view)
            new = {name: content for name, content in sections.items() if shown.get(name) != content}
            shown |= new
            if new or time.monotonic() - said_s > SIGN_EVERY_S:
                # JSON has no line breaks. That there is nothing new is said, too: the reader may be gone.
                yield b"data: " + json.dumps(new).encode() + b"\n\n"
                said_s = time.monotonic()
            self._stopping.wait(EVERY_S)

    def _sections(self, view: View) -> dict[str, str]:
        if view.task:
            return {"task": self._task(view)}
        if view.worker:
            return {"worker": self._worker(view)}
        queues = self._lists.queues()
        found, total = self._tasks(queues, view)
        return {
            "queues": overview.queues(queues, view),
            "workers": overview.workers(self._lists.workers()),
            "tasks": overview.tasks(found, view, total),
        }

    def _tasks(self, queues: Sequence[QueueView], view: View) -> tuple[list[TaskView], int]:
        """The tasks to list, and how many there are."""
        chosen = [queue for queue in queues if view.queue in {"", queue.name}]
        states = [view.state] if view.state else ["active", *(each for each in STATES if each != "active")]
        wanted = [(queue, state) for state in states for queue in chosen if queue.depths[state]]
        most = MOST_TASKS if len(wanted) == 1 else MOST_OF_EACH
        found = [
            task
            for queue, state in wanted[:MOST_TASKS]
            for task in self._lists.tasks(queue.name, state, limit=most)
        ]
        return found[: 2 * MOST_TASKS], sum(queue.depths[state] for queue, state in wanted)

    def _task(self, view: View) -> str:
        try:
            found = self._single.task(view.task, view.queue or None)
        except NotThere:
            return detail.no_task(view)
        workers = {found.worker_id, *(each.worker_id for each in found.failures)} - {""}
        crashes = [each for each in dossiers.newest(self._db, workers) if dossiers.names(each, found.id)]
        return detail.task(found, Traces(crashes, self._single.output(task_id=found.id)))

    def _worker(self, view: View) -> str:
        crashes = dossiers.newest(self._db, [view.worker])
        try:
            found = self._lists.worker(view.worker)
        except NotThere:
            return detail.no_worker(view, Traces(crashes))
        return detail.worker(found, Traces(crashes, self._lists.output(worker_id=found.id)))

    def _again(self, view: View) -> Form:
        """The form, filled with the task that is shown where that can be sent again as it is."""
        if not view.task:
            return Form(queue=view.queue)
        try:
            found = self._single.task(view.task, view.queue or None)
        except (NotThere, redis.RedisError):
            return Form()
        if not found.payload or len(found.payload) > form.MOST_OFFERED_BYTES:
            return Form(found.queue)
        return Form(found.queue, found.payload.decode(errors="replace"), again=True)
