-- Shared by every script: put in front of each when it is loaded.
--
-- KEYS[1]  the queue's prefix, asynq:{<queue>}: . It is no key itself, it routes: every key a
--          script touches begins with it, so all of them live in one cluster slot.
--
-- Time is Redis's own, so that workers with skewed clocks agree about leases and due times.

local prefix = KEYS[1]
local time = redis.call('TIME')
local now_s = tonumber(time[1]) + tonumber(time[2]) / 1000000
-- As text: nanoseconds since 1970 do not fit a Lua number.
local now_ns = time[1] .. string.format('%06d', tonumber(time[2])) .. '000'

-- Scores are whole seconds: asynq's tools and the server read them as integers, and fail on a fraction. As text, since
-- Redis writes a number of Lua's with all digits of a fraction. A small sorted set reads its scores one by one whenever
-- something is added: whole ones at once, a fraction digit by digit.
local function whole(seconds)
    return string.format('%.0f', math.ceil(seconds))
end

-- Seconds by which a hash outlives its entry's score. The purge deletes both, soon after that; should
-- the hash go first, asynq's statistics of the queue fail: they ask for the size of what each entry names.
local OUTLIVES_S = 120
-- Score of an entry that is never purged. Infinity would not survive a JSON dashboard.
local NEVER_S = 3153600000
-- asynq keeps its daily counters for 90 days.
local COUNTER_TTL_S = 7776000

local PENDING, ACTIVE, LEASE = prefix .. 'pending', prefix .. 'active', prefix .. 'lease'

local function task_key(id)
    return prefix .. 't:' .. id
end

-- Runs a command with many words, in portions that Lua can hand over.
local MOST_WORDS = 2000
local function with_all(command, key, words)
    for first = 1, #words, MOST_WORDS do
        redis.call(command, key, unpack(words, first, math.min(first + MOST_WORDS - 1, #words)))
    end
end

-- The reply of a command that fails where a client has left something of a type that does not belong there;
-- nil then, so that one such key does not keep all others from being served. Any other error ends the script.
local function unless_misfit(...)
    local reply = redis.pcall(...)
    local err = type(reply) == 'table' and reply.err
    if not err then return reply end
    for _, misfit in ipairs({'WRONGTYPE', 'not an integer', 'would overflow'}) do
        if string.find(err, misfit, 1, true) then return nil end
    end
    -- Once more: from what Redis itself ends a script with, being unavailable can be told from a mistake.
    return redis.call(...)
end

-- The values of fields of a task's hash, and whether what stands at its key is something else than a hash.
local function values_of(id, ...)
    local values = unless_misfit('HMGET', task_key(id), ...)
    return values or {}, not values
end

-- The UTC day of now as YYYY-MM-DD: Redis's Lua has no os.date. Days are counted in 400-year
-- eras that begin on 1 March, so that the leap day comes last in its year.
local function today()
    local days = math.floor(tonumber(time[1]) / 86400) + 719468
    local era = math.floor(days / 146097)
    local doe = days - era * 146097
    local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
    local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
    local mp = math.floor((5 * doy + 2) / 153)
    local day = doy - math.floor((153 * mp + 2) / 5) + 1
    local month = mp < 10 and mp + 3 or mp - 9
    local year = yoe + era * 400 + (month <= 2 and 1 or 0)
    return string.format('%04d-%02d-%02d', year, month, day)
end

-- Counts n more in the total and in the day's counter of the given name.
local function count(name, n)
    if n == 0 then return end
    unless_misfit('INCRBY', prefix .. name, n)
    local daily = prefix .. name .. ':' .. today()
    if unless_misfit('INCRBY', daily, n) == n then
        redis.call('EXPIRE', daily, COUNTER_TTL_S)
    end
end

-- The number of an attempt and, behind it, when its task was first taken: a task that was deleted and made
-- again under the same id counts its attempts from one again, but cannot have been taken at the same time.
local function attempt_text(number, first_taken)
    if not number then return '' end
    return first_taken and number .. '-' .. first_taken or number
end

-- Whether there is no task of this id. Stamps alone are none: the server writes them after the enqueue, in
-- the end to a task that is gone by then, and they would stay for ever.
local function no_task(id)
    local found, is_foreign = values_of(id, 'state', 'msg', 'type', 'payload')
    if found[1] or found[2] or found[3] or found[4] then return false end
    if not is_foreign then redis.call('DEL', task_key(id)) end
    return true
end

-- Ends the script, before it has changed anything, where another program has made a key something else than
-- what the coming writes need: Redis takes nothing back of a script that fails half way.
local function need_list(key)
    redis.call('LLEN', key)
end
local function need_zset(key)
    redis.call('ZCARD', key)
end

-- The same where this user may not do what comes after the first write: from Redis 7 on, which can be asked.
-- Each command is a list of its words, of which the keys count.
local function need_rights(...)
    if not redis.acl_check_cmd then return end
    for _, command in ipairs({...}) do
        if not redis.acl_check_cmd(unpack(command)) then
            error('ACL failure in script: this needs ' .. command[1])
        end
    end
end
-- What each script needs that takes tasks out of active.
local RELEASE, UNLEASE, NOTE = {'LREM', ACTIVE, 1, ''}, {'ZREM', LEASE, ''}, {'HSET', task_key(''), '', ''}

-- Takes the task out of active and ends its lease.
local function release(id)
    redis.call('LREM', ACTIVE, 1, id)
    redis.call('ZREM', LEASE, id)
end

-- The same for many, in a few commands for all of them: those that end stand close together, at the end of the list at
-- which the oldest are. What stands between them is put back, and what stands elsewhere is looked for one by one.
-- Like need_list and need_zset it ends the script before it has changed anything where it cannot.
local function release_all(ids)
    if #ids == 0 then return end
    local left, first, kept = {}, nil, {}
    for _, id in ipairs(ids) do left[id] = true end
    local oldest = redis.call('LRANGE', ACTIVE, -4 * #ids, -1)
    with_all('ZREM', LEASE, ids)
    for at, id in ipairs(oldest) do
        if left[id] then
            left[id], first = nil, first or at
        elseif first then
            kept[#kept + 1] = id
        end
    end
    if first then
        redis.call('LTRIM', ACTIVE, 0, first - #oldest - 2)
        with_all('RPUSH', ACTIVE, kept)
    end
    for id in pairs(left) do redis.call('LREM', ACTIVE, 1, id) end
end

-- The fence. Whether this attempt of this owner still is the one running the task: 'held';
-- 'settled' when the same attempt was settled before (its reply was lost on the way);
-- 'lost' when another has it by now, or another task its id; 'gone' when the task is no more, and nothing
-- of it is left at work.
-- With only_lapsed it must also have outlived its lease, which is what lets another worker
-- act in the owner's name. Returns the values of the hash's fields named in more, too, from the fifth on.
local function fence(id, owner, attempt, only_lapsed, more)
    local held = values_of(id, 'state', 'owner', 'attempt', 'first_taken', unpack(more or {}))
    if not held[1] then
        if not no_task(id) then return 'lost' end
        -- An entry without a task would stay in active until its lease runs out.
        release(id)
        return 'gone'
    end
    if (held[2] or '') ~= owner or attempt_text(held[3], held[4]) ~= attempt then return 'lost' end
    if held[1] ~= 'active' then return 'settled' end
    if only_lapsed then
        local expiry = redis.call('ZSCORE', LEASE, id)
        if not expiry or tonumber(expiry) > now_s then return 'lost' end
    end
    return 'held', held
end

-- Notes how many runs of the task ended because the task process crashed; most have none, and no field.
local function record_crashes(id, crashes)
    if crashes ~= '0' then redis.call('HSET', task_key(id), 'crashes', crashes) end
end

-- How many bytes of failed runs are kept for people, and how many of each error.
local TOLD_BYTES, ERROR_BYTES = 4096, 500

-- Notes a run that failed behind those before it, a line of JSON each: which attempt (values of its fence), when,
-- where and why. The oldest lines go.
local function record_failure(id, values, why)
    local told = redis.call('HGET', task_key(id), 'failures') or ''
    -- What another program left there is dropped.
    if #told > 2 * TOLD_BYTES or string.sub(told, -1) ~= '\n' then told = '' end
    told = told .. cjson.encode({
        attempt = tonumber(values[3]), at = tonumber(time[1]), worker = string.sub(values[2] or '', 1, ERROR_BYTES),
        error = string.sub(why, 1, ERROR_BYTES),
    }) .. '\n'
    while #told > TOLD_BYTES do told = string.sub(told, string.find(told, '\n', 1, true) + 1) end
    redis.call('HSET', task_key(id), 'failures', told)
end

-- Makes this the task's message; '' leaves the one that is there. Behind a zero byte, with which no message
-- begins, are fields to be added to it: they hold whatever it says before, and a large one need not be sent.
local function rewrite(id, message)
    if message == '' then return end
    if string.byte(message) == 0 then
        message = (redis.call('HGET', task_key(id), 'msg') or '') .. string.sub(message, 2)
    end
    redis.call('HSET', task_key(id), 'msg', message)
end

-- Puts a task that is in no list at the end of pending that is served next.
local function put_back(id)
    redis.call('HSET', task_key(id), 'state', 'pending', 'pending_since', now_ns)
    redis.call('RPUSH', PENDING, id)
end

-- Ends an attempt in the name of another worker than the one that had it: should that worker
-- come with an outcome after all, the fence must say 'lost', and not that it was accepted.
local function disown(id)
    redis.call('HDEL', task_key(id), 'owner')
end

-- Whether an id that stands in a list is a task to run. It is not when its hash is gone, when it
-- has ended, or when it waits for its time: then the entry is a second one, of a client that sent twice.
local function runnable(id, state)
    if state == 'completed' or state == 'archived' then return false end
    if state == 'scheduled' or state == 'retry' then return not redis.call('ZSCORE', prefix .. state, id) end
    return state and true or not no_task(id)
end

-- Takes an id that was not claimed out of active, and back to pending if it is a task to run. Returns
-- whether it was.
local function unclaim(id)
    need_list(PENDING)
    if redis.call('LREM', ACTIVE, 1, id) == 0 then return false end
    if not runnable(id, values_of(id, 'state')[1]) then return false end
    put_back(id)
    disown(id)
    return true
end

-- The score of an ended task's entry: when it may be purged, ttl_s from now (0: never, as is what lies beyond the
-- calendar of EXPIRE).
local function purge_time(ttl_s)
    return whole(now_s + (ttl_s > 0 and ttl_s < NEVER_S and ttl_s or NEVER_S))
end

-- Gives the hash of an ended task the lifetime that goes with it.
local function expire(id, ttl_s)
    if ttl_s > 0 and ttl_s < NEVER_S then
        redis.call('EXPIRE', task_key(id), whole(ttl_s + OUTLIVES_S))
    else
        redis.call('PERSIST', task_key(id))
    end
end

-- Enters an ended task into completed or archived, to be purged after ttl_s.
local function shelve(id, shelf, ttl_s)
    redis.call('ZADD', prefix .. shelf, purge_time(ttl_s), id)
    expire(id, ttl_s)
end

-- Milliseconds until an ended task may be purged, which is when its reverse lookup ends; -1 for ever.
local function left_ms(id)
    local ms = redis.call('PTTL', task_key(id))
    return ms > 0 and math.max(1, ms - OUTLIVES_S * 1000) or ms
end

-- A lifetime in seconds: the stamp where it is one to count with (not missing, infinite or NaN), else another.
local function lifetime(stamp, otherwise)
    local ttl_s = tonumber(stamp)
    return ttl_s and ttl_s - ttl_s == 0 and ttl_s or tonumber(otherwise)
end

-- What the server stamps on a task, after the enqueue.
local STAMPS = {'ttl_completed', 'ttl_archived', 'pending_timeout', 'active_timeout'}
-- Tasks that ended before their stamps came, to be looked at again: packed {look, id...} by the time of that
-- look. The first look finds what a server writes behind a quick task, the last one what a stalled server does.
local ENDED_EARLY = prefix .. 'ended_early'
local LOOK_AFTER_S = {3, 120}
-- How long they wait for a worker that looks: where workers come and go with the work, the last one may have
-- stopped right after its tasks. Where none comes any more, the key must end.
local ENDED_EARLY_TTL_S = 86400
local IDS_PER_ENTRY = 100
-- A lifetime without stamps does not end before the first look: it may turn out to be another.
local SHORTEST_UNSTAMPED_S = LOOK_AFTER_S[1] + 2

-- Remembers ended tasks for the given look, the first or a later one.
local function look_later(ids, look)
    if #ids == 0 then return end
    for first = 1, #ids, IDS_PER_ENTRY do
        local entry = cmsgpack.pack({look, unpack(ids, first, math.min(first + IDS_PER_ENTRY - 1, #ids))})
        redis.call('ZADD', ENDED_EARLY, whole(now_s + LOOK_AFTER_S[look]), entry)
    end
    redis.call('EXPIRE', ENDED_EARLY, ENDED_EARLY_TTL_S)
end

-- The lifetime of a task that ends now, given its stamp of that or false, and whether it is to be looked at again: its
-- stamps have not come yet, or say something else than the worker knew of when it gave the reverse lookup its lifetime.
local function ending(id, stamp, known_s)
    local others = stamp and {true} or values_of(id, unpack(STAMPS))
    if others[1] or others[2] or others[3] or others[4] then
        local ttl_s = lifetime(stamp, known_s)
        return ttl_s, ttl_s ~= known_s
    end
    return known_s > 0 and math.max(known_s, SHORTEST_UNSTAMPED_S) or known_s, true
end
