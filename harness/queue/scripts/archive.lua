-- Archive a task that waits, as asynq's inspector does: scored with now, and without a lifetime. The upkeep of
-- workers gives it one.
--
-- KEYS[1]  the task's hash      KEYS[2]  pending      KEYS[3]  archived
-- ARGV[1]  id      ARGV[2]  the prefix of the queue's keys      ARGV[3]  the state it must be in, or empty
-- Returns done; gone; the state where that does not allow it; misplaced where it is not where its state says.

local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'gone' end
if ARGV[3] ~= '' and state ~= ARGV[3] then return state end
if state ~= 'pending' and state ~= 'scheduled' and state ~= 'retry' then return state end
redis.call('ZCARD', KEYS[3])
local removed
if state == 'pending' then
    removed = redis.call('LREM', KEYS[2], 0, ARGV[1])
else
    removed = redis.call('ZREM', ARGV[2] .. state, ARGV[1])
end
if removed == 0 then return 'misplaced' end
redis.call('ZADD', KEYS[3], redis.call('TIME')[1], ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'archived')
redis.call('PERSIST', KEYS[1])
return 'done'
