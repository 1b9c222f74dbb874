-- Finish tasks that succeeded.
--
-- KEYS[1]  prefix
-- ARGV[1]  keep the hash and the result 0|1 (redis_storage)
-- ARGV[2...]  per task: id, owner, attempt, result, lifetime in seconds (0: for ever) unless it is stamped with
--             another by now, unique lock or ''
-- Returns one word a task: done, or why not; see fence.

-- Field 13 of asynq's message, the time of completion, as protobuf writes it: appended, it holds whatever
-- the message says before, and every other field stays as it is.
local completed_at, left = '\104', tonumber(time[1])
while left > 127 do
    completed_at = completed_at .. string.char(left % 128 + 128)
    left = math.floor(left / 128)
end
completed_at = completed_at .. string.char(left)

local MORE = {'msg', 'ttl_completed'}
local answer, finished, values, shelved, early = {}, {}, {}, {}, {}
local is_kept = ARGV[1] == '1'
if is_kept then need_zset(prefix .. 'completed') end
need_rights(RELEASE, UNLEASE, NOTE, {'ZADD', prefix .. 'completed', 0, ''}, {'LTRIM', ACTIVE, 0, 0},
    {'RPUSH', ACTIVE, ''}, {'EXPIRE', task_key(''), 0}, {'INCRBY', prefix .. 'processed', 1})
for i = 2, #ARGV, 6 do
    local id = ARGV[i]
    local held, found = fence(id, ARGV[i + 1], ARGV[i + 2], false, MORE)
    if held == 'held' and values[id] then
        held = 'settled'
    elseif held == 'held' then
        finished[#finished + 1], values[id] = id, found
        found.at = i
        held = 'done'
    end
    answer[#answer + 1] = held
end
-- First of all: a full Redis refuses HSET, but lets a script go on that has begun to write.
release_all(finished)
for _, id in ipairs(finished) do
    local found = values[id]
    local result, known_s, unique = ARGV[found.at + 3], tonumber(ARGV[found.at + 4]), ARGV[found.at + 5]
    local ttl_s, look_again = ending(id, found[6], known_s)
    if is_kept then
        local fields = {'state', 'completed', 'completed_at', time[1], 'result', result}
        if found[5] then
            fields[7], fields[8] = 'msg', found[5] .. completed_at
        end
        redis.call('HSET', task_key(id), unpack(fields))
        expire(id, ttl_s)
        shelved[#shelved + 1], shelved[#shelved + 2] = purge_time(ttl_s), id
    else
        redis.call('DEL', task_key(id))
    end
    -- The lock is in our slot by asynq's naming; one that is not is not ours to touch.
    if string.sub(unique, 1, #prefix) == prefix and unless_misfit('GET', unique) == id then
        redis.call('DEL', unique)
    end
    if look_again then early[#early + 1] = id end
end
with_all('ZADD', prefix .. 'completed', shelved)
count('processed', #finished)
look_later(early, 1)
return answer
