"""Rules about a task's hash and the message in it."""

import base64
import binascii
import json
from collections.abc import Iterator

from harness.queue.strict import layout
from harness.queue.strict.view import Found, Task, View, whole

STATES = (*layout.PLACES, "aggregating")
#: Nanoseconds since 1970 that are later than 1973; seconds and milliseconds of our time are less.
_LEAST_NS = 10**17


def messages_decode(view: View) -> Iterator[Found]:
    """A message is one in proto3."""
    for task in view.tasks.values():
        if task.unreadable:
            yield Found(
                task.key, f"msg: {task.unreadable}", "could not decode task message → HTTP 500; lists skip it"
            )


def messages_name_their_task(view: View) -> Iterator[Found]:
    """A message has the id and the queue of its key."""
    for task in view.tasks.values():
        if task.message is None:
            continue
        for field, expected in (("id", task.name.id), ("queue", task.name.queue)):
            if task.message.get(field) != expected:
                yield Found(
                    task.key,
                    f"msg.{field} is {task.message.get(field)!r}",
                    "deleting or running it from a list is done to another task",
                )


def known_states(view: View) -> Iterator[Found]:
    """A state is one of asynq's."""
    for task in view.tasks.values():
        if task.state not in STATES and not task.is_remains:
            yield Found(task.key, f"its state is {task.state!r}", "not supported task state → HTTP 500")


def known_fields(view: View) -> Iterator[Found]:
    """A field is one of the layout's, or one of the worker with a reason."""
    for task in view.tasks.values():
        for name in sorted(task.fields.keys() - layout.FIELDS - layout.OUR_FIELDS.keys()):
            yield Found(task.key, f"it has a field {name}", "no tool reads it")


def whole_numbers(view: View) -> Iterator[Found]:
    """Times, lifetimes and counts are whole numbers."""
    for task in view.tasks.values():
        for name in layout.NUMBERS:
            if name in task.fields and whole(task.text(name)) is None:
                yield Found(
                    task.key, f"{name} is {task.text(name)!r}", "it is no integer, so it counts as not there"
                )


def pending_since_in_nanoseconds(view: View) -> Iterator[Found]:
    """What waits says since when in nanoseconds; what asynq's own inspector put there says nothing."""
    for name, places in view.places.items():
        task = view.tasks.get(name)
        since = whole(task.text("pending_since")) if task else None
        if task and "pending" in places and since is not None and since < _LEAST_NS:
            yield Found(
                task.key, f"pending_since is {since}", "the queue's latency is told as half a century"
            )


def hash_and_message_agree(view: View) -> Iterator[Found]:
    """The retries in the hash are those in the message: asynq's tools read the message alone."""
    for task in view.tasks.values():
        if task.message is None or task.state not in {"retry", "archived"}:
            continue
        said = task.message.get("retried", 0)
        if "retried" in task.fields and task.number("retried") != said:
            yield Found(
                task.key,
                f"retried is {task.text('retried')}, msg.retried {said}",
                "the dashboard shows the latter",
            )


def completed_say_when(view: View) -> Iterator[Found]:
    """A completed task says when, in its message too."""
    for task in view.tasks.values():
        if task.state != "completed":
            continue
        if not task.number("completed_at"):
            yield Found(
                task.key, f"completed_at is {task.text('completed_at')!r}", "it was completed in 1970"
            )
        elif task.message is not None and task.message.get("completed_at") != task.number("completed_at"):
            said = task.message.get("completed_at", 0)
            yield Found(
                task.key,
                f"msg.completed_at is {said}",
                "CompletedAt in the dashboard and in the answer is that",
            )


def results_come_back_as_sent(view: View) -> Iterator[Found]:
    """A result is JSON that the server does not take for base64."""
    for task in view.tasks.values():
        if task.state == "completed" and "result" in task.fields:
            yield from _result(task)


def _result(task: Task) -> Iterator[Found]:
    result = task.fields["result"]
    try:
        json.loads(result)
    except ValueError:
        yield Found(task.key, f"the result is {result[:40]!r}", "it is no JSON: the client cannot read it")
        return
    if _is_base64(result):
        yield Found(
            task.key,
            f"the result is {result[:40]!r}",
            "it is valid base64: the server decodes it, garbage comes back",
        )


def _is_base64(text: bytes) -> bool:
    """As Go's base64.StdEncoding sees it, which skips line breaks and nothing else."""
    if not text:
        return False
    try:
        base64.b64decode(text.replace(b"\r", b"").replace(b"\n", b""), validate=True)
    except binascii.Error:
        return False
    return True
