-- Return tasks to the end of pending that is served next, nothing charged.
--
-- KEYS[1]  prefix
-- ARGV[1...]  per task: id, owner, attempt
-- Returns one word a task: done, or why not; see fence.

local answer = {}
for i = 1, #ARGV, 3 do
    local id = ARGV[i]
    local held = fence(id, ARGV[i + 1], ARGV[i + 2], false)
    if held == 'held' then
        release(id)
        put_back(id)
        held = 'done'
    end
    answer[#answer + 1] = held
end
return answer
