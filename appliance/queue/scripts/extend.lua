-- Prolong the leases of tasks that are being worked on.
--
-- KEYS[1]  prefix
-- ARGV[1]  lease, seconds from now      ARGV[2...]  per task: id, owner, attempt
-- Returns one word a task: done, or why not; see fence.

local answer = {}
for i = 2, #ARGV, 3 do
    local id = ARGV[i]
    local held = fence(id, ARGV[i + 1], ARGV[i + 2], false)
    if held == 'held' then
        -- A full Redis refuses ZADD, but lets a script go on that has begun to write.
        redis.call('ZREM', LEASE, id)
        redis.call('ZADD', LEASE, whole(now_s + tonumber(ARGV[1])), id)
        held = 'done'
    end
    answer[#answer + 1] = held
end
return answer
