"""Sending tasks as clients do, and looking at what stands in Redis of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import redis

from harness.queue import asynq


class NotTaken(AssertionError):
    """The server did not take every task that was sent; the message has its reasons."""


def send(client: Any, queue: str, payloads: Sequence[Mapping[str, Any]], timeout_s: int = 300) -> list[str]:
    """Send ``payloads`` in one batch by the SDK's ``client``; returns the ids. Raises :class:`NotTaken`."""
    answer = client.enqueue_batch(queue, [dict(payload) for payload in payloads], timeout=timeout_s)
    if answer.enqueued != len(payloads):
        raise NotTaken(f"the server took {answer.enqueued} of {len(payloads)} tasks: {answer.errors}")
    return list(answer.task_ids)


def places(db: redis.Redis, queue: str, ids: Sequence[str]) -> list[str]:
    """Where each task is: one of :data:`harness.queue.asynq.PLACES`, or ``nowhere``."""
    return asynq.where_are(db, queue, ids)


def stored(db: redis.Redis, queue: str, task_id: str) -> asynq.StoredTask:
    """A task's hash, which has to be there."""
    task = asynq.get_task(db, queue, task_id)
    if task is None:
        raise AssertionError(f"task {task_id} has no hash")
    return task


def retried(task: asynq.StoredTask) -> int:
    """Retries charged to it, by its message."""
    return int(task.message.get("retried", 0))
