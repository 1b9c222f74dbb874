-- Shelve tasks that failed for good. The unique lock stays, as in asynq: it runs out by itself.
--
-- KEYS[1]  prefix
-- ARGV[1]  only those whose lease ran out 0|1 (recovering another worker's tasks)
-- ARGV[2...]  per task: id, owner, attempt, lifetime in seconds (0: for ever), error text,
--             rewritten message or '' (keep the one that is there)
-- Returns one word a task: done, or why not; see fence.

local answer, failed = {}, 0
for i = 2, #ARGV, 6 do
    local id, message = ARGV[i], ARGV[i + 5]
    local held = fence(id, ARGV[i + 1], ARGV[i + 2], ARGV[1] == '1')
    if held == 'held' then
        release(id)
        redis.call('HSET', task_key(id), 'state', 'archived',
            'error_msg', ARGV[i + 4], 'last_failed_at', time[1])
        if message ~= '' then redis.call('HSET', task_key(id), 'msg', message) end
        shelve(id, 'archived', tonumber(ARGV[i + 3]))
        if ARGV[1] == '1' then disown(id) end
        failed = failed + 1
        held = 'done'
    end
    answer[#answer + 1] = held
end
count('processed', failed)
count('failed', failed)
return answer
