-- Put tasks where they wait for a worker that can run them, nothing charged.
--
-- KEYS[1]  prefix
-- ARGV[1...]  per task: id, owner, attempt, delay in seconds, reason
-- Returns one word a task: done, or why not; see fence.

local answer = {}
need_zset(LEASE)
need_zset(prefix .. 'retry')
need_rights(RELEASE, UNLEASE, NOTE, {'ZADD', prefix .. 'retry', 0, ''})
for i = 1, #ARGV, 5 do
    local id = ARGV[i]
    local held = fence(id, ARGV[i + 1], ARGV[i + 2], false)
    if held == 'held' then
        release(id)
        redis.call('ZADD', prefix .. 'retry', whole(now_s + tonumber(ARGV[i + 3])), id)
        redis.call('HSET', task_key(id), 'state', 'retry', 'error_msg', ARGV[i + 4])
        held = 'done'
    end
    answer[#answer + 1] = held
end
return answer
