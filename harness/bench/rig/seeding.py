"""Tasks for our worker, by the hundred thousand: written by a script in Redis, as the server would."""

import time

import redis

from harness.queue import asynq
from harness.queue.asynq import NewTask

#: Ids have the length of a UUID.
_ID_WIDTH = 36
#: Tasks a call, so that Redis answers others in between.
_BATCH = 5_000
# KEYS: queues, the list the ids go into. ARGV: queue, how a task's key begins, how a lookup's does, message
# before its id and after, first number, last number, nanoseconds.
_SEED = f"""
redis.call('SADD', KEYS[1], ARGV[1])
for n = tonumber(ARGV[6]), tonumber(ARGV[7]) do
    local id = string.format('%0{_ID_WIDTH}d', n)
    redis.call('HSET', ARGV[2] .. id, 'msg', ARGV[4] .. id .. ARGV[5], 'state', 'pending',
               'pending_since', ARGV[8], 'ttl_completed', 86400, 'ttl_archived', 259200,
               'pending_timeout', 0, 'active_timeout', 0)
    redis.call('HSET', ARGV[3] .. id, 'queue', ARGV[1])
    redis.call('EXPIRE', ARGV[3] .. id, 2592000)
    redis.call('LPUSH', KEYS[2], id)
end
"""


class Seeder:
    """Adds tasks with the same ``payload`` to one queue; no id comes twice."""

    def __init__(self, db: redis.Redis, queue: str, payload: object = None) -> None:
        self._db = db
        self._next = 1
        self._script = db.register_script(_SEED)
        self._pending, self._aside = asynq.key(queue, "pending"), asynq.key(queue, "bench:aside")
        placeholder = "?" * _ID_WIDTH
        before, after = NewTask(payload, id=placeholder).encode(queue).split(placeholder.encode())
        self._fixed = (queue, asynq.task_key(queue, ""), asynq.lookup_key(""), before, after)

    def add(self, count: int) -> None:
        """So many more pending tasks, each with hash, message, stamps and reverse lookup."""
        self._write(count, self._pending)

    def add_at_once(self, count: int) -> None:
        """The same, all at one instant, to a queue in which nothing is pending."""
        self._write(count, self._aside)
        self._db.rename(self._aside, self._pending)

    def add_one(self) -> str:
        """One more, in one round trip, as asynq's client does it; returns its id."""
        task_id = f"{self._next:0{_ID_WIDTH}d}"
        self.add(1)
        return task_id

    def _write(self, count: int, list_of_ids: str) -> None:
        end = self._next + count
        for first in range(self._next, end, _BATCH):
            last = min(first + _BATCH, end) - 1
            self._script(keys=(asynq.QUEUES, list_of_ids), args=(*self._fixed, first, last, time.time_ns()))
        self._next = end
