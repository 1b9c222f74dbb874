-- Put failed tasks where they wait for their next run, one retry spent.
--
-- KEYS[1]  prefix
-- ARGV[1]  only those whose lease ran out 0|1 (recovering another worker's tasks)
-- ARGV[2...]  per task: id, owner, attempt, delay in seconds, retried from now on, error text,
--             rewritten message or '' (a legacy task has none)
-- Returns one word a task: done, or why not; see fence.

local answer, failed = {}, 0
for i = 2, #ARGV, 7 do
    local id, message = ARGV[i], ARGV[i + 6]
    local held = fence(id, ARGV[i + 1], ARGV[i + 2], ARGV[1] == '1')
    if held == 'held' then
        release(id)
        redis.call('ZADD', prefix .. 'retry', now_s + tonumber(ARGV[i + 3]), id)
        redis.call('HSET', task_key(id), 'state', 'retry', 'retried', ARGV[i + 4],
            'error_msg', ARGV[i + 5], 'last_failed_at', time[1])
        if message ~= '' then redis.call('HSET', task_key(id), 'msg', message) end
        if ARGV[1] == '1' then disown(id) end
        failed = failed + 1
        held = 'done'
    end
    answer[#answer + 1] = held
end
count('processed', failed)
count('failed', failed)
return answer
