-- Put failed tasks where they wait for their next run, one retry spent.
--
-- KEYS[1]  prefix
-- ARGV[1]  only those whose lease ran out 0|1 (recovering another worker's tasks)
-- ARGV[2...]  per task: id, owner, attempt, delay in seconds, retried from now on, error text,
--             rewritten message or '' (a legacy task has none; see rewrite), runs that ended in a crash from now on
-- Returns one word a task: done, or why not; see fence.

local answer, failed = {}, 0
need_zset(LEASE)
need_zset(prefix .. 'retry')
need_rights(RELEASE, UNLEASE, NOTE, {'ZADD', prefix .. 'retry', 0, ''})
for i = 2, #ARGV, 8 do
    local id, message = ARGV[i], ARGV[i + 6]
    local held, values = fence(id, ARGV[i + 1], ARGV[i + 2], ARGV[1] == '1')
    if held == 'held' then
        release(id)
        redis.call('ZADD', prefix .. 'retry', whole(now_s + tonumber(ARGV[i + 3])), id)
        redis.call('HSET', task_key(id), 'state', 'retry', 'retried', ARGV[i + 4],
            'error_msg', ARGV[i + 5], 'last_failed_at', time[1])
        record_crashes(id, ARGV[i + 7])
        record_failure(id, values, ARGV[i + 5])
        rewrite(id, message)
        if ARGV[1] == '1' then disown(id) end
        failed = failed + 1
        held = 'done'
    end
    answer[#answer + 1] = held
end
count('processed', failed)
count('failed', failed)
return answer
