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

-- Score of an entry that is never purged. Infinity would not survive a JSON dashboard.
local NEVER_S = 3153600000
-- asynq keeps its daily counters for 90 days.
local COUNTER_TTL_S = 7776000

local PENDING, ACTIVE, LEASE = prefix .. 'pending', prefix .. 'active', prefix .. 'lease'

local function task_key(id)
    return prefix .. 't:' .. id
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
    redis.call('INCRBY', prefix .. name, n)
    local daily = prefix .. name .. ':' .. today()
    if redis.call('INCRBY', daily, n) == n then
        redis.call('EXPIRE', daily, COUNTER_TTL_S)
    end
end

-- The fence. Whether this attempt of this owner still is the one running the task: 'held';
-- 'settled' when the same attempt was settled before (its reply was lost on the way);
-- 'lost' when it is somebody else's by now; 'gone' when the task is no more.
-- With only_expired it must also have outlived its lease, which is what lets another worker
-- act in the owner's name. Returns the value of the hash's field extra, too, if one is named.
local function fence(id, owner, attempt, only_expired, extra)
    local held = redis.call('HMGET', task_key(id), 'state', 'owner', 'attempt', extra or 'state')
    if not held[1] then
        return redis.call('EXISTS', task_key(id)) == 1 and 'lost' or 'gone'
    end
    if (held[2] or '') ~= owner or (held[3] or '') ~= attempt then return 'lost' end
    if held[1] ~= 'active' then return 'settled' end
    if only_expired then
        local expiry = redis.call('ZSCORE', LEASE, id)
        if not expiry or tonumber(expiry) > now_s then return 'lost' end
    end
    return 'held', held[4]
end

-- Takes the task out of active and ends its lease.
local function release(id)
    redis.call('LREM', ACTIVE, 1, id)
    redis.call('ZREM', LEASE, id)
end

-- Puts a task that is in no list at the end of pending that is served next.
local function put_back(id)
    redis.call('HSET', task_key(id), 'state', 'pending', 'pending_since', now_ns)
    redis.call('RPUSH', PENDING, id)
end

-- Ends an attempt in the name of somebody else than the worker that had it: should that worker
-- come with an outcome after all, the fence must say 'lost', and not that it was accepted.
local function disown(id)
    redis.call('HDEL', task_key(id), 'owner')
end

-- Whether an id that stands in a list is a task to run. It is not when its hash is gone, when it
-- has ended, or when it waits for its time: then the entry is a second one, of a client that sent twice.
local function runnable(id, state)
    if state == 'completed' or state == 'archived' then return false end
    if state == 'scheduled' or state == 'retry' then return not redis.call('ZSCORE', prefix .. state, id) end
    return state and true or redis.call('EXISTS', task_key(id)) == 1
end

-- Takes an id nobody claimed out of active, and back to pending if it is a task to run. Returns
-- whether it was.
local function unclaim(id)
    if redis.call('LREM', ACTIVE, 1, id) == 0 then return false end
    if not runnable(id, redis.call('HGET', task_key(id), 'state')) then return false end
    put_back(id)
    disown(id)
    return true
end

-- Enters an ended task into completed or archived, to be purged after ttl_s (0: never, as is
-- what lies beyond the calendar of EXPIRE).
local function shelve(id, shelf, ttl_s)
    if ttl_s > 0 and ttl_s < NEVER_S then
        redis.call('ZADD', prefix .. shelf, now_s + ttl_s, id)
        redis.call('EXPIRE', task_key(id), math.ceil(ttl_s))
    else
        redis.call('ZADD', prefix .. shelf, now_s + NEVER_S, id)
        redis.call('PERSIST', task_key(id))
    end
end

-- Makes an id that was just moved to active this owner's, with a lease and a new attempt number.
-- Returns what the worker needs to run it, or nil for an id that is no task to run or is being
-- worked on already.
local function claim(id, owner, lease_s)
    local task = redis.call('HMGET', task_key(id), 'state', 'msg', 'retried', 'pending_since',
        'ttl_completed', 'ttl_archived', 'pending_timeout', 'active_timeout')
    local state = task[1]
    if not runnable(id, state) then return nil end
    if redis.call('ZADD', LEASE, 'NX', now_s + lease_s, id) == 0 then
        if state == 'active' then return nil end
        -- Lease and entry of a task that was deleted at work; this one was made under its name since.
        redis.call('LREM', ACTIVE, 0, id)
        redis.call('LPUSH', ACTIVE, id)
        redis.call('ZADD', LEASE, now_s + lease_s, id)
    end
    -- An archived task that somebody runs again still has the end of its lifetime set.
    redis.call('PERSIST', task_key(id))
    local attempt = redis.call('HINCRBY', task_key(id), 'attempt', 1)
    redis.call('HSET', task_key(id), 'state', 'active', 'owner', owner)
    redis.call('HDEL', task_key(id), 'pending_since')
    local legacy = false
    if not task[2] then
        legacy = redis.call('HMGET', task_key(id), 'type', 'payload', 'retry', 'max_retry', 'timeout', 'deadline')
    end
    return {id, tostring(attempt), owner, task[2], task[3], task[4], task[5], task[6], task[7], task[8], legacy}
end
