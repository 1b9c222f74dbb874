"""What people do to tasks and queues: written as asynq's inspector writes it, each one atomic step.

Source: asynq's inspector (run, archive, delete, pause, unpause, cancel), as ``docs/protocol.md`` has its
layout. A task that is being worked on is only ever cancelled: its worker ends it. Reverse lookups are in
other slots of a cluster; they follow the task in a command of their turn. Every method raises
redis.RedisError where Redis does not answer.
"""

import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from harness.queue import asynq

#: Channel on which workers hear which task to cancel.
CANCEL = "asynq:cancel"


class NotPossible(Exception):
    """What was asked for cannot be done with this task or queue; the message is a sentence that says why."""


class Gone(NotPossible):
    """There is no such task, or not any more."""


class Operations:
    """See the module. ``db`` is a client of a Redis or of a cluster that answers in bytes."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self._run = db.register_script(_source("run"))
        self._archive = db.register_script(_source("archive"))
        self._delete = db.register_script(_source("delete"))

    def retry(self, queue: str, task_id: str, state: str = "") -> None:
        """Have a task that waits for its time, or has ended, served as the last of those that wait now.

        It keeps its count of retries: without any left, it is archived again when it fails. Where ``state``
        is given, here and below, a task in another state is left alone.
        """
        self._change(self._run, "retried", queue, task_id, state)
        # An ended task's lookup has the end of its lifetime set, too.
        self._db.persist(asynq.lookup_key(task_id))

    def archive(self, queue: str, task_id: str, state: str = "") -> None:
        """Archive a task that waits; workers purge it later as any archived one."""
        self._change(self._archive, "archived", queue, task_id, state, ("archived",))
        self._db.persist(asynq.lookup_key(task_id))

    def delete(self, queue: str, task_id: str, state: str = "") -> None:
        """Delete a task, whatever its state but active; nothing is left of it."""
        self._change(self._delete, "deleted", queue, task_id, state)
        self._db.delete(asynq.lookup_key(task_id))

    def cancel(self, queue: str, task_id: str) -> int:
        """Have the worker that runs a task end it; returns how many programs heard of it (0: no worker).

        The worker archives the task and replaces its process; both follow in their time.
        """
        state = asynq.get_state(self._db, queue, task_id)
        if state != "active":
            raise _why_not("cancelled", state or "gone", task_id)
        heard: int = self._db.publish(CANCEL, task_id)
        return heard

    def pause(self, queue: str) -> None:
        """Have nothing taken out of a sub-queue; what runs goes on."""
        self._known(queue)
        if not self._db.set(asynq.key(queue, "paused"), int(time.time()), nx=True):
            raise NotPossible(f"queue {queue} is paused already")

    def resume(self, queue: str) -> None:
        """End the pause."""
        self._known(queue)
        if not self._db.delete(asynq.key(queue, "paused")):
            raise NotPossible(f"queue {queue} is not paused")

    def _known(self, queue: str) -> None:
        if not self._db.sismember(asynq.QUEUES, queue):
            raise NotPossible(f"queue {queue}: no task was ever sent to it")

    def _change(
        self,
        script: Callable[..., Any],
        done: str,
        queue: str,
        task_id: str,
        state: str,
        places: Sequence[str] = (),
    ) -> None:
        """Run a script on the task's hash, pending and ``places``; ``done`` is what the task is after it."""
        keys = [asynq.key(queue, place) for place in ("pending", *places)]
        args = [task_id, asynq.key(queue, ""), state]
        word = script(keys=[asynq.task_key(queue, task_id), *keys], args=args).decode(errors="replace")
        if state and word not in {"done", "gone", "misplaced", state}:
            raise NotPossible(f"task {task_id} is {word} by now, no longer {state}; it was left as it is")
        if word != "done":
            raise _why_not(done, word, task_id)


def _why_not(done: str, state: str, task_id: str) -> NotPossible:
    match state:
        case "gone":
            return Gone(f"task {task_id}: there is no such task (any more)")
        case "misplaced":
            why = "moves at the moment, or is in no list; look again"
        case "active":
            why = f"is active, and cannot be {done} while a worker runs it; cancel it first"
        case _ if done == "cancelled":
            more = "; archive or delete it" if state in {"pending", "scheduled", "retry"} else ""
            why = f"is {state}, and only a running task can be cancelled{more}"
        case _:
            why = f"is {state}, and cannot be {done}"
    return NotPossible(f"task {task_id} {why}")


def _source(name: str) -> str:
    return (files("harness.queue") / "scripts" / f"{name}.lua").read_text("utf-8")
