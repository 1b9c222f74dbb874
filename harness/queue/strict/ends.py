"""Rules about how things end: nothing of a task that ended stays for ever, nothing that waits goes away."""

from collections.abc import Iterator

from harness.queue.strict import layout
from harness.queue.strict.view import Found, Name, Task, View

#: Seconds by which a reverse lookup may end before its task: it is in another slot, and written after it.
LOOKUP_SLACK_S = 5.0
#: Seconds after its score at which an entry is purged at the latest, while there is a worker.
PURGE_S = 60.0
#: Seconds between two readings of Redis's clock within a script that reads everything.
CLOCK_S = 0.1


def remains_end(view: View) -> Iterator[Found]:
    """What is written on a task that was deleted goes away again."""
    for task in view.tasks.values():
        if task.is_remains and task.entry.ttl_s is None:
            yield Found(
                task.key,
                f"it has nothing but {', '.join(sorted(task.fields))}, and never expires",
                "it is there for ever, and looking it up is HTTP 500",
            )


def waiting_do_not_expire(view: View) -> Iterator[Found]:
    """A task that has not ended has no end set."""
    for name, places in view.places.items():
        task = view.tasks.get(name)
        if task and task.entry.ttl_s is not None and not set(places) & set(layout.ENDED):
            yield Found(
                task.key, f"it is {places[0]}, and expires in {task.entry.ttl_s:g} s", "the task is lost then"
            )


def a_hash_outlives_its_entry(view: View) -> Iterator[Found]:
    """The hash of an ended task does not expire before the time at which it is purged."""
    for key, name, score in view.scores(*layout.ENDED):
        task = view.tasks.get(name)
        if task is None or task.entry.ttl_s is None:
            continue
        ends_s = view.now_s + task.entry.ttl_s
        if ends_s < float(score) + PURGE_S - CLOCK_S:
            yield Found(
                task.key,
                f"it expires {ends_s - float(score):.3f} s after its entry in {key} may be purged",
                "an entry without a hash: the script of asynq 0.25 fails → HTTP 500 for the queue's page",
            )


def lookups_name_a_queue(view: View) -> Iterator[Found]:
    """A reverse lookup names a queue there is."""
    for key, _, entry in view.each("lookup"):
        queue = entry.fields.get("queue", b"").decode(errors="backslashreplace")
        if queue not in view.queues:
            yield Found(key, f"its queue is {queue!r}", "no such queue → HTTP 404 or 500 for the task")


def lookups_live_as_their_task(view: View) -> Iterator[Found]:
    """A reverse lookup ends with its task, neither before nor never."""
    for key, parts, entry in view.each("lookup"):
        queue = entry.fields.get("queue", b"").decode(errors="backslashreplace")
        task = view.tasks.get(Name(queue, parts["id"]))
        if entry.ttl_s is None:
            if task is None or task.is_remains:
                yield Found(key, "it never expires, and its task is gone", "it stays for ever")
            elif task.entry.ttl_s is not None:
                yield Found(
                    key, f"it never expires, its task does in {task.entry.ttl_s:g} s", "it stays for ever"
                )
        # The server may give a lookup a life at the enqueue; the end of the task sets it right.
        elif task and task.state in layout.ENDED and entry.ttl_s < _left_s(view, task) - LOOKUP_SLACK_S:
            yield Found(
                key, f"it expires in {entry.ttl_s:g} s, before its task", "HTTP 404 for a task that is there"
            )


def _left_s(view: View, task: Task) -> float:
    """Seconds until an ended task is purged."""
    score = view.score_s(task.state, task.name)
    return score - view.now_s if score is not None else task.entry.ttl_s or 0.0
