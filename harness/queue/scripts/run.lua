-- Put a task that waits for its time, or has ended, into pending, to be served last.
--
-- KEYS[1]  the task's hash      KEYS[2]  pending
-- ARGV[1]  id      ARGV[2]  the prefix of the queue's keys      ARGV[3]  the state it must be in, or empty
-- Returns done; gone; the state where that does not allow it; misplaced where it is not where its state says.

local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'gone' end
if ARGV[3] ~= '' and state ~= ARGV[3] then return state end
if state ~= 'scheduled' and state ~= 'retry' and state ~= 'archived' and state ~= 'completed' then return state end
-- Redis takes nothing back of a script that fails half way: what could fail comes before the first change.
redis.call('LLEN', KEYS[2])
if redis.call('ZREM', ARGV[2] .. state, ARGV[1]) == 0 then return 'misplaced' end
redis.call('LPUSH', KEYS[2], ARGV[1])
-- Where it was archived as it waited, it has that time still: it would be over its limit at once.
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', 'pending', 'pending_since', now[1] .. string.format('%06d000', now[2]))
-- An ended task has a lifetime; one that waits must not be lost when that is over.
redis.call('PERSIST', KEYS[1])
return 'done'
