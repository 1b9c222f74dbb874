"""``runqy-harness enqueue``: tasks by the SDK's client, and how they ended."""

import http.client
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from runqy_python.client import RunqyError, TaskInfo, TaskNotFoundError

from harness import wait
from harness.failure import CommandFailed
from harness.output.terminal import json_line, one_line
from harness.sandbox.client import Client

T = TypeVar("T")

#: Tasks in one request.
BATCH = 1_000
#: Seconds in which a server may still refuse connections, because it is about to start, to one who waits for
#: results.
STARTING_S = 60.0
_OVER = frozenset({"completed", "archived", "gone"})


@dataclass(frozen=True)
class EnqueueOptions:
    """What to send where; ``timeout_s`` is how long a task may run."""

    server: str
    key: str = field(repr=False)
    queue: str
    timeout_s: int
    payloads: Sequence[Mapping[str, Any]]


def run(options: EnqueueOptions, wait_s: float | None) -> int:
    """Send, and print ids (``wait_s`` None) or what became of the tasks within ``wait_s``, a JSON line each.

    Where it waits, it also waits for the server: ``docker compose up --detach`` is over before that listens.
    Returns 1 where a task was refused, failed or did not end in time. Raises
    :class:`~harness.failure.CommandFailed` where the server cannot be used.
    """
    client = Client(options.server, options.key)
    began_s = time.monotonic()
    task_ids, refused = _send(client, options, began_s + min(wait_s or 0.0, STARTING_S))
    for problem in refused:
        print(f"refused: {one_line(problem)}", file=sys.stderr)
    if wait_s is None:
        print("\n".join(task_ids))
        return 1 if refused else 0
    deadline = began_s + wait_s
    states = [print_end(client, options.queue, task_id, deadline) for task_id in task_ids]
    return 0 if not refused and all(state == "completed" for state in states) else 1


def _send(client: Any, options: EnqueueOptions, listens_by_s: float) -> tuple[list[str], list[str]]:
    """Ids, and what the server said of jobs it did not take."""
    ask = partial(_ask, options, listens_by_s)
    if len(options.payloads) == 1:
        send = partial(client.enqueue, options.queue, options.payloads[0], timeout=options.timeout_s)
        task = ask(send)
        return [task.task_id], []
    task_ids: list[str] = []
    refused: list[str] = []
    for start in range(0, len(options.payloads), BATCH):
        part = list(options.payloads[start : start + BATCH])
        sent = ask(partial(client.enqueue_batch, options.queue, part, timeout=options.timeout_s))
        task_ids += sent.task_ids
        refused += sent.errors
    return task_ids, refused


def print_end(client: Any, queue: str, task_id: str, deadline: float) -> str:
    """Wait for a task's end, print it, return the state it ended in."""
    last: Any = TaskInfo(task_id, queue, "unknown")

    def ended() -> bool:
        nonlocal last
        try:
            last = client.get_task(task_id)
        except TaskNotFoundError:
            last = TaskInfo(task_id, queue, "gone", error="the server does not know it (any more)")
        return last.state in _OVER

    try:
        wait.until(ended, max(0.0, deadline - time.monotonic()), "the task's end")
        error = last.error or None
    except wait.TimedOut as exc:
        error = (
            str(exc) if last.state == "unknown" else f"not over in time; {last.error or 'no error so far'}"
        )
    result = last.result if last.state == "completed" else None
    answer = {"task_id": task_id, "state": last.state, "result": result, "error": error}
    print(json_line(answer), flush=True)
    return str(last.state)


def _ask(options: EnqueueOptions, listens_by_s: float, request: Callable[[], T]) -> T:
    try:
        return _once_it_listens(options.server, listens_by_s, request)
    except TaskNotFoundError as exc:
        # The client says "task" of every 404; here it is the queue that there is none of.
        raise CommandFailed(f"--queue {options.queue}: {str(exc).partition(': ')[2]}") from exc
    except (RunqyError, http.client.HTTPException, OSError, ValueError) as exc:
        raise CommandFailed(f"{options.server}: {exc}") from exc


def _once_it_listens(server: str, listens_by_s: float, request: Callable[[], T]) -> T:
    """The answer; a request whose connection was refused, and no other, is made again until then."""
    starting_s = max(0.0, listens_by_s - time.monotonic())
    refusals: list[RunqyError] = []

    def answers() -> list[T]:
        try:
            return [request()]
        except RunqyError as exc:
            # The client keeps the words of an error on the way; what it was is behind it.
            if not isinstance(getattr(exc.__context__, "reason", None), ConnectionRefusedError):
                raise
            if starting_s and not refusals:
                print(f"{server}: waiting for it, {exc}", file=sys.stderr, flush=True)
            refusals[:] = [exc]
            return []

    try:
        # Whatever else goes wrong, the server may have the tasks: they are not sent again.
        (answer,) = wait.until(answers, starting_s, "the server", fatal=(Exception,))
    except wait.TimedOut:
        raise refusals[0] from None
    return answer
