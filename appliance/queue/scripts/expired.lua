-- Look at tasks whose lease ran out: their worker is dead or cut off. Nothing is changed but
-- leases of tasks that are no more; what to do with the rest is for retry and archive to do.
--
-- KEYS[1]  prefix
-- ARGV[1]  how many at most
-- Returns {task...} in the shape of claim, with the dead attempt's own owner and number.

local answer = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASE, '-inf', now_s, 'LIMIT', 0, tonumber(ARGV[1]))) do
    local task = redis.call('HMGET', task_key(id), 'state', 'msg', 'retried', 'pending_since',
        'ttl_completed', 'ttl_archived', 'pending_timeout', 'active_timeout', 'owner', 'attempt')
    if task[1] == 'active' then
        local legacy = false
        if not task[2] then
            legacy = redis.call('HMGET', task_key(id), 'type', 'payload', 'retry', 'max_retry', 'timeout', 'deadline')
        end
        answer[#answer + 1] = {id, task[10] or '', task[9] or '', task[2], task[3], task[4], task[5], task[6],
            task[7], task[8], legacy}
    elseif runnable(id, task[1]) then
        -- The task is new under the name of one that was deleted at work. Should it stand in active,
        -- it does so unclaimed, and is seen as such from now on (stranded).
        redis.call('ZREM', LEASE, id)
    else
        -- A lease of a task that has ended, waits elsewhere or is gone holds nothing.
        release(id)
    end
end
return answer
