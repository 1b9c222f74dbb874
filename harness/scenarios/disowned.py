"""What becomes of tasks whose worker forgets that it had them: a mutation of the stories about Redis."""

import redis

from harness.queue import asynq
from harness.scenarios.scene import QUEUE

# In one go: it is done so often that a round trip for each task keeps a core busy.
_DISOWN = """
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    redis.call('HSET', ARGV[1] .. id, 'owner', 'another-worker')
end
"""


def disown(db: redis.Redis) -> None:
    """Whatever is being worked on belongs to another worker from now on, which never ends it."""
    db.eval(_DISOWN, 1, asynq.key(QUEUE, "active"), asynq.task_key(QUEUE, ""))
