"""What becomes of tasks whose worker forgets that it had them: a mutation of the stories about Redis."""

from typing import Any

import redis

from harness.queue import asynq
from harness.scenarios.scene import QUEUE


def disown(db: redis.Redis) -> None:
    """Whatever is being worked on belongs to another worker from now on, which never ends it."""
    at_work: Any = db.lrange(asynq.key(QUEUE, "active"), 0, -1)
    for task_id in at_work:
        db.hset(asynq.task_key(QUEUE, task_id.decode()), "owner", "another-worker")
