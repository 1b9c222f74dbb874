-- Delete completed and archived tasks whose time has come.
--
-- KEYS[1]  prefix
-- ARGV[1]  how many at most
-- Returns {id...} of those deleted; their reverse lookups live in other slots and are the caller's.

local answer = {}
for _, shelf in ipairs({'completed', 'archived'}) do
    local due = redis.call('ZRANGEBYSCORE', prefix .. shelf, '-inf', now_s, 'LIMIT', 0, tonumber(ARGV[1]) - #answer)
    for _, id in ipairs(due) do
        redis.call('ZREM', prefix .. shelf, id)
        local state = redis.call('HGET', task_key(id), 'state')
        -- An entry left behind by a task that was run again must not take the task with it.
        if not state or state == shelf then
            redis.call('DEL', task_key(id))
            answer[#answer + 1] = id
        end
    end
end
return answer
