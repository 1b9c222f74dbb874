"""Rules about the lists and sorted sets of a queue: scores, entries, leases, and one place for each task."""

from collections.abc import Iterator

from harness.queue.strict import layout
from harness.queue.strict.view import Found, View, whole

#: Farther in the future no score lies that is in seconds.
FARTHEST_S = 200 * 365 * layout.DAY_S


def whole_scores(view: View) -> Iterator[Found]:
    """Scores that asynq parses are whole."""
    for key, name, score in view.scores(*layout.SORTED_SETS):
        if whole(score) is None:
            yield Found(
                key,
                f"{name.id} has the score {score}",
                "cast error: unexpected value returned from Lua script → HTTP 500 for the task and the list",
            )


def scores_are_seconds(view: View) -> Iterator[Found]:
    """Scores are unix seconds, not milliseconds or nanoseconds."""
    latest_s = view.now_s + FARTHEST_S
    for key, name, score in view.scores(*layout.SORTED_SETS, "lease"):
        if float(score) > latest_s:
            yield Found(
                key, f"{name.id} has the score {score}", "read as seconds it never comes: not run, not purged"
            )
    for key, _, entry in view.each("workers"):
        for worker_id, score in entry.scores.items():
            if float(score) > latest_s:
                yield Found(key, f"{worker_id} has the score {score}", "the worker is remembered for ever")


def entries_have_a_task(view: View) -> Iterator[Found]:
    """Each id in a list is that of a hash; one that is due for the purge may have gone a moment before."""
    for name, places in view.places.items():
        if name in view.tasks:
            continue
        due = all(
            place in layout.ENDED and (view.score_s(place, name) or 0.0) <= view.now_s for place in places
        )
        if not due:
            yield Found(
                f"asynq:{{{name.queue}}}:{places[0]}",
                f"{name.id} is in it, but has no hash",
                "MEMORY USAGE of nothing: the script of asynq 0.25 fails → HTTP 500 for the queue's page",
            )


def one_place(view: View) -> Iterator[Found]:
    """A task is in one place, once."""
    for name, places in view.places.items():
        if len(places) > 1:
            yield Found(
                f"asynq:{{{name.queue}}}:{places[0]}",
                f"{name.id} is in {' and '.join(places)}",
                "it is counted, listed and run twice",
            )


def somewhere(view: View) -> Iterator[Found]:
    """A task is in a place; what is left of one that was deleted is none."""
    for name, task in view.tasks.items():
        if name not in view.places and not task.is_remains:
            yield Found(
                task.key,
                f"its state is {task.state!r}, but it is in no list",
                "no list shows it, nothing runs or purges it, and deleting it fails",
            )


def state_is_the_place(view: View) -> Iterator[Found]:
    """The state names the place."""
    for name, places in view.places.items():
        task = view.tasks.get(name)
        if task and task.state in layout.PLACES and len(places) == 1 and task.state != places[0]:
            yield Found(
                task.key,
                f"its state is {task.state}, but it is in {places[0]}",
                "deleting, running or archiving it looks in the wrong list and fails → HTTP 500",
            )


def leases_are_of_active(view: View) -> Iterator[Found]:
    """A lease is one of an active task."""
    for key, name, _ in view.scores("lease"):
        if "active" not in view.places.get(name, []):
            yield Found(
                key, f"{name.id} has a lease, but is not active", "asynq's recoverer retries it over and over"
            )


def active_have_a_lease(view: View) -> Iterator[Found]:
    """An active task has a lease."""
    leased = {name for _, name, _ in view.scores("lease")}
    for name, places in view.places.items():
        if "active" in places and name not in leased:
            yield Found(
                f"asynq:{{{name.queue}}}:active",
                f"{name.id} has no lease",
                "asynq's recoverer never finds it",
            )
