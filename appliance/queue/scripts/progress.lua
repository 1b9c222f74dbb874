-- Keep beside tasks what their code said last of how far it is.
--
-- KEYS[1]  prefix
-- ARGV[1...]  per task: id, owner, attempt, progress as JSON
-- Returns one word a task: done, or why not; see fence.

local now_ms = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
local answer = {}
for i = 1, #ARGV, 4 do
    local id, attempt = ARGV[i], ARGV[i + 2]
    local held = fence(id, ARGV[i + 1], attempt, false)
    -- Settled: the last word of an attempt may be on its way when its outcome overtakes it.
    if held == 'held' or held == 'settled' then
        local number = string.match(attempt, '^%d+') or '0'
        redis.call('HSET', task_key(id), 'progress',
            '{"at_ms":' .. now_ms .. ',"attempt":' .. number .. ',"progress":' .. ARGV[i + 3] .. '}')
        held = 'done'
    end
    answer[#answer + 1] = held
end
return answer
