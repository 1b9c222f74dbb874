-- Return tasks to the end of pending that is served next, nothing charged. The first of them is the next one served.
--
-- KEYS[1]  prefix
-- ARGV[1...]  per task: id, owner, attempt
-- Returns one word a task: done, or why not; see fence.

local answer, back, is_back = {}, {}, {}
need_zset(LEASE)
need_list(PENDING)
need_rights(RELEASE, UNLEASE, NOTE, {'RPUSH', PENDING, ''})
for i = 1, #ARGV, 3 do
    local id = ARGV[i]
    local held = fence(id, ARGV[i + 1], ARGV[i + 2], false)
    if held == 'held' and is_back[id] then
        held = 'settled'
    elseif held == 'held' then
        is_back[id] = true
        table.insert(back, 1, id)
        held = 'done'
    end
    answer[#answer + 1] = held
end
-- They came last, so that each is near the end of active that is looked through first.
for _, id in ipairs(back) do redis.call('LREM', ACTIVE, 1, id) end
with_all('ZREM', LEASE, back)
with_all('RPUSH', PENDING, back)
for _, id in ipairs(back) do redis.call('HSET', task_key(id), 'state', 'pending', 'pending_since', now_ns) end
return answer
