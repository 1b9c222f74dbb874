-- Shelve tasks that failed for good. The unique lock stays, as in asynq: it runs out by itself.
--
-- KEYS[1]  prefix
-- ARGV[1]  only those whose lease ran out 0|1 (recovering another worker's tasks)
-- ARGV[2...]  per task: id, owner, attempt, lifetime in seconds (0: for ever) unless it is stamped with
--             another by now, error text, rewritten message or '' (keep the one that is there; see rewrite), runs that
--             ended in a crash from now on
-- Returns one word a task: done, or why not; see fence.

local answer, failed, early = {}, 0, {}
need_zset(LEASE)
need_zset(prefix .. 'archived')
need_rights(RELEASE, UNLEASE, NOTE, {'ZADD', prefix .. 'archived', 0, ''}, {'EXPIRE', task_key(''), 0})
for i = 2, #ARGV, 7 do
    local id, message = ARGV[i], ARGV[i + 5]
    local held, values = fence(id, ARGV[i + 1], ARGV[i + 2], ARGV[1] == '1', {'ttl_archived'})
    if held == 'held' then
        release(id)
        local ttl_s, look_again = ending(id, values[5], tonumber(ARGV[i + 3]))
        redis.call('HSET', task_key(id), 'state', 'archived',
            'error_msg', ARGV[i + 4], 'last_failed_at', time[1])
        record_crashes(id, ARGV[i + 6])
        record_failure(id, values, ARGV[i + 4])
        rewrite(id, message)
        shelve(id, 'archived', ttl_s)
        if ARGV[1] == '1' then disown(id) end
        failed = failed + 1
        if look_again then early[#early + 1] = id end
        held = 'done'
    end
    answer[#answer + 1] = held
end
count('processed', failed)
count('failed', failed)
look_later(early, 1)
return answer
