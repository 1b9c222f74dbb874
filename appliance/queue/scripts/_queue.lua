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
-- act in the owner's name.
local function fence(id, owner, attempt, only_expired)
    local held = redis.call('HMGET', task_key(id), 'state', 'owner', 'attempt')
    if not held[1] then
        return redis.call('EXISTS', task_key(id)) == 1 and 'lost' or 'gone'
    end
    if (held[2] or '') ~= owner or (held[3] or '') ~= attempt then return 'lost' end
    if held[1] ~= 'active' then return 'settled' end
    if only_expired then
        local expiry = redis.call('ZSCORE', LEASE, id)
        if not expiry or tonumber(expiry) > now_s then return 'lost' end
    end
    return 'held'
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

-- Enters an ended task into completed or archived, to be purged after ttl_s (0: never).
local function shelve(id, shelf, ttl_s)
    if ttl_s > 0 then
        redis.call('ZADD', prefix .. shelf, now_s + ttl_s, id)
        redis.call('EXPIRE', task_key(id), math.ceil(ttl_s))
    else
        redis.call('ZADD', prefix .. shelf, now_s + NEVER_S, id)
        redis.call('PERSIST', task_key(id))
    end
end

-- Makes an id that was just moved to active this owner's, with a lease and a new attempt number.
-- Returns what the worker needs to run it, or nil for an id that is no task to run: one without
-- a hash, one that has ended, one that is being worked on already.
local function claim(id, owner, lease_s)
    local task = redis.call('HMGET', task_key(id), 'state', 'msg', 'retried', 'pending_since',
        'ttl_completed', 'ttl_archived', 'pending_timeout', 'active_timeout')
    local state = task[1]
    if state == 'completed' or state == 'archived' then return nil end
    if not state and redis.call('EXISTS', task_key(id)) == 0 then return nil end
    if redis.call('ZADD', LEASE, 'NX', now_s + lease_s, id) == 0 then return nil end
    local attempt = redis.call('HINCRBY', task_key(id), 'attempt', 1)
    redis.call('HSET', task_key(id), 'state', 'active', 'owner', owner)
    redis.call('HDEL', task_key(id), 'pending_since')
    local legacy = false
    if not task[2] then
        legacy = redis.call('HMGET', task_key(id), 'type', 'payload', 'retry', 'max_retry', 'timeout', 'deadline')
    end
    return {id, tostring(attempt), owner, task[2], task[3], task[4], task[5], task[6], task[7], task[8], legacy}
end
