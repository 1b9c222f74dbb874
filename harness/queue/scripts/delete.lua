-- Delete a task that is not being worked on, with its unique lock.
--
-- KEYS[1]  the task's hash      KEYS[2]  pending
-- ARGV[1]  id      ARGV[2]  the prefix of the queue's keys      ARGV[3]  the state it must be in, or empty
-- Returns done; gone; the state where that does not allow it; misplaced where it is not where its state says.

local state, lock = unpack(redis.call('HMGET', KEYS[1], 'state', 'unique_key'))
if not state then return 'gone' end
if ARGV[3] ~= '' and state ~= ARGV[3] then return state end
local removed
if state == 'pending' then
    removed = redis.call('LREM', KEYS[2], 0, ARGV[1])
elseif state == 'scheduled' or state == 'retry' or state == 'archived' or state == 'completed' then
    removed = redis.call('ZREM', ARGV[2] .. state, ARGV[1])
else
    return state
end
if removed == 0 then return 'misplaced' end
if lock and lock ~= '' and redis.call('GET', lock) == ARGV[1] then redis.call('DEL', lock) end
redis.call('DEL', KEYS[1])
return 'done'
