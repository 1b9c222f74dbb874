-- Finish tasks that succeeded.
--
-- KEYS[1]  prefix
-- ARGV[1]  keep the hash and the result 0|1 (redis_storage)
-- ARGV[2...]  per task: id, owner, attempt, result, lifetime in seconds (0: for ever), unique lock or ''
-- Returns one word a task: done, or why not; see fence.

-- Field 13 of asynq's message, the time of completion, as protobuf writes it: appended, it holds whatever
-- the message says before, and every other field stays as it is.
local completed_at, left = '\104', tonumber(time[1])
while left > 127 do
    completed_at = completed_at .. string.char(left % 128 + 128)
    left = math.floor(left / 128)
end
completed_at = completed_at .. string.char(left)

local answer, finished = {}, 0
for i = 2, #ARGV, 6 do
    local id, unique = ARGV[i], ARGV[i + 5]
    local held, message = fence(id, ARGV[i + 1], ARGV[i + 2], false, 'msg')
    if held == 'held' then
        release(id)
        if ARGV[1] == '1' then
            local fields = {'state', 'completed', 'completed_at', time[1], 'result', ARGV[i + 3]}
            if message then
                fields[7], fields[8] = 'msg', message .. completed_at
            end
            redis.call('HSET', task_key(id), unpack(fields))
            shelve(id, 'completed', tonumber(ARGV[i + 4]))
        else
            redis.call('DEL', task_key(id))
        end
        -- The lock is in our slot by asynq's naming; one that is not is not ours to touch.
        if string.sub(unique, 1, #prefix) == prefix and redis.call('GET', unique) == id then
            redis.call('DEL', unique)
        end
        finished = finished + 1
        held = 'done'
    end
    answer[#answer + 1] = held
end
count('processed', finished)
return answer
