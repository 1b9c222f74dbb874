-- Return ids that sit in active without a lease to pending, nothing charged.
--
-- KEYS[1]  prefix
-- ARGV[1...]  ids
-- Returns how many were returned; those that got a lease meanwhile are left alone.

local returned = 0
for _, id in ipairs(ARGV) do
    if not redis.call('ZSCORE', LEASE, id) and redis.call('LREM', ACTIVE, 1, id) > 0 then
        local state = redis.call('HGET', task_key(id), 'state')
        if state ~= 'completed' and state ~= 'archived' and redis.call('EXISTS', task_key(id)) == 1 then
            put_back(id)
            returned = returned + 1
        end
    end
end
return returned
