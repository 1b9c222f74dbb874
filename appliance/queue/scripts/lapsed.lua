-- Look at tasks whose lease ran out: their worker is dead or cut off. Nothing is changed but
-- leases of tasks that are no more; what to do with the rest is for retry and archive to do.
--
-- KEYS[1]  prefix
-- ARGV[1]  how many at most
-- Returns {task...} in the shape of claim, with the dead attempt's own owner and number.

-- Bytes of messages in one answer, which every worker may ask for at once: the rest has the next look.
local MOST_BYTES = 4 * 1024 * 1024

local answer, bytes = {}, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASE, '-inf', now_s, 'LIMIT', 0, tonumber(ARGV[1]))) do
    local task = values_of(id, 'state', 'msg', 'retried', 'pending_since',
        'ttl_completed', 'ttl_archived', 'pending_timeout', 'active_timeout', 'owner', 'attempt', 'first_taken', 'crashes')
    if task[1] == 'active' then
        local legacy = false
        if not task[2] then
            legacy = redis.call('HMGET', task_key(id), 'type', 'payload', 'retry', 'max_retry', 'timeout', 'deadline')
        end
        answer[#answer + 1] = {id, attempt_text(task[10], task[11]), task[9] or '', task[2], task[3], task[4], task[5], task[6],
            task[7], task[8], task[12], legacy}
        bytes = bytes + #(task[2] or '')
        if bytes >= MOST_BYTES then break end
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
