-- Delete completed and archived tasks whose time has come, and give archived ones that have none theirs.
--
-- A task archived by hand is scored with the time at which that was done: due at once, it would seem.
-- What tells the two apart is the hash, whose own lifetime ends with the score of our own entry.
--
-- KEYS[1]  prefix
-- ARGV[1]  how many at most      ARGV[2]  lifetime in seconds of an archived task without a stamp (0: for ever)
-- Returns {number of entries that were due, {id...} of those deleted, {id, milliseconds left...} of those
-- given a lifetime}; their reverse lookups live in other slots and are the caller's.

-- What the hash of our own entry may have left when its score has come, in milliseconds; two seconds are
-- for rounding.
local MOST_LEFT_MS = (OUTLIVES_S + 2) * 1000

local due_total, deleted, kept = 0, {}, {}
for _, shelf in ipairs({'completed', 'archived'}) do
    local due = redis.call('ZRANGEBYSCORE', prefix .. shelf, '-inf', now_s, 'LIMIT', 0, tonumber(ARGV[1]) - due_total)
    for _, id in ipairs(due) do
        -- First of all: a full Redis refuses ZADD, but lets a script go on that has begun to write.
        redis.call('ZREM', prefix .. shelf, id)
        local values, is_foreign = values_of(id, 'state', 'ttl_archived')
        local state, stamp = values[1], values[2]
        local ttl_ms = shelf == 'archived' and state == shelf and redis.call('PTTL', task_key(id)) or 0
        if ttl_ms == -1 or ttl_ms > MOST_LEFT_MS then
            shelve(id, shelf, lifetime(stamp, ARGV[2]))
            -- It may never have been run: a take would not see that its hash has a lifetime.
            redis.call('HSET', task_key(id), 'shelved', '1')
            kept[#kept + 1] = id
            kept[#kept + 1] = left_ms(id)
        else
            -- An entry left behind by a task that was run again must not take the task with it.
            if not is_foreign and (not state or state == shelf) then
                redis.call('DEL', task_key(id))
                deleted[#deleted + 1] = id
            end
        end
    end
    due_total = due_total + #due
end
return {due_total, deleted, kept}
