"""Sends the planned tasks at their times, each until Redis has acknowledged it, whatever is done to Redis."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable

import redis

from harness.chaos.plan import PARENT, Plan, PlannedTask
from harness.evidence.history import Sent
from harness.queue import asynq
from harness.queue.asynq import NewTask

#: Seconds between two attempts, and for which a unique lock is held by a task that never ends.
_AGAIN_S, _LOCK_S = 0.05, 600


class Sender:
    """A thread. ``db`` must wait for replies for ever: a request given up may still be carried out."""

    def __init__(self, plan: Plan, db: redis.Redis) -> None:
        self.sent: list[Sent] = []
        self._plan = plan
        self._db = db
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-sender", daemon=True)

    def start(self) -> None:
        """Begin; the plan's times count from now."""
        self._begun_s = time.monotonic()
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it will send no more."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()

    def _run(self) -> None:
        for task in self._plan.tasks:
            self._stop.wait(max(0.0, self._begun_s + task.at_s - time.monotonic()))
            self._send(task)
            if self._stop.is_set():
                return

    def _send(self, task: PlannedTask) -> None:
        lock = unique_key(task)
        if lock:
            self._insist(lambda: self._db.set(lock, task.task_id, ex=_LOCK_S))
        self._insist(lambda: self._put(task, lock))

    def _put(self, task: PlannedTask, lock: str) -> None:
        # An earlier attempt may have been carried out although we never heard of it.
        if not self._db.exists(asynq.task_key(task.queue, task.task_id)):
            due_s = time.time() + task.delay_s
            new = NewTask(
                payload=task.payload,
                id=task.task_id,
                retry=task.retry,
                timeout_s=task.timeout_s,
                message={"unique_key": lock} if lock else {},
            )
            if task.delay_s:
                asynq.seed_scheduled(self._db, task.queue, new, due_s=due_s)
            else:
                asynq.seed_pending(self._db, task.queue, new)
        self.sent.append(
            Sent(
                task_id=task.task_id,
                queue=task.queue,
                behaviour=task.behaviour,
                at_s=time.time(),
                due_s=time.time() + task.delay_s,
                retry=task.retry,
                timeout_s=task.timeout_s,
                must=task.must,
                digest=hashlib.sha256(task.payload.get("blob", "").encode()).hexdigest()[:16],
                unique_key=lock,
            )
        )

    def _insist(self, act: Callable[[], object]) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(redis.RedisError, OSError):
                act()
                return
            self._stop.wait(_AGAIN_S)


def unique_key(task: PlannedTask) -> str:
    """The task's lock as asynq names one; empty where it has none."""
    if not task.unique:
        return ""
    digest = hashlib.md5(task.task_id.encode(), usedforsecurity=False).hexdigest()
    return asynq.key(task.queue, f"unique:{PARENT}:{digest}")
