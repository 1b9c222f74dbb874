"""Whether each of many tasks was settled exactly once, asked of Redis in one pass."""

from typing import Any

import redis

from harness.bench.rig.ours import QUEUE
from harness.queue import asynq

#: Ids a call of the script below, so that Redis answers others in between.
_BATCH = 5_000
# KEYS: completed. ARGV: how a task's key begins, first rank, last rank. Returns how many of these tasks were
# completed without a retry, and how often they were taken: one that is fetched ahead may be handed back.
_SETTLED_ONCE = """
local fine, taken = 0, 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3])) do
    local task = redis.call('HMGET', ARGV[1] .. id, 'state', 'retried', 'attempt')
    if task[1] == 'completed' and (task[2] or '0') == '0' then fine = fine + 1 end
    taken = taken + tonumber(task[3])
end
return {fine, taken}
"""


def times_taken(db: redis.Redis, count: int) -> int:
    """How often tasks were taken; raises ValueError where one was retried, lost, or counted twice."""
    script = db.register_script(_SETTLED_ONCE)
    completed, task = asynq.key(QUEUE, "completed"), asynq.task_key(QUEUE, "")
    fine = taken = 0
    for first in range(0, count, _BATCH):
        found: Any = script(keys=(completed,), args=(task, first, first + _BATCH - 1))
        fine, taken = fine + found[0], taken + found[1]
    counters = asynq.get_counters(db, QUEUE)
    left = asynq.get_pending(db, QUEUE) + asynq.get_active(db, QUEUE)
    if fine != count or counters != {"processed": count, "failed": 0} or left:
        seen = f"{fine} were, the counters are {counters}, {len(left)} are left"
        raise ValueError(f"not each of {count} tasks was settled exactly once: {seen}")
    return taken
