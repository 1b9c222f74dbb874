-- What a take makes of ids, behind _queue: shared by the scripts that take.

-- Whether a take came when it did not hold any more: its worker may have ended long ago. The time from which
-- on it is void is Redis's own; '' for a take that always holds.
local function too_late(void_from)
    return void_from ~= '' and now_s >= tonumber(void_from)
end

-- What each script needs that takes.
local CLAIM, FREE = {'ZADD', LEASE, 0, ''}, {'HDEL', task_key(''), ''}

-- What a claim reads of a task, in this order. The last ones tell whether its hash may have a lifetime.
local CLAIMED = {'state', 'msg', 'retried', 'pending_since', 'ttl_completed', 'ttl_archived', 'pending_timeout',
    'active_timeout', 'first_taken', 'crashes', 'attempt', 'error_msg', 'completed_at', 'shelved'}
-- How many ids are claimed together: fewer than Lua can hand to one command.
local MOST_AT_ONCE = 1000

-- Bytes of messages in one answer after which no other is taken: outcomes wait for the answer. The worker asks
-- for more when it has room.
local MOST_BYTES = 4 * 1024 * 1024

-- Makes one task this owner's, with a new attempt number, given the values of CLAIMED. Returns what the worker
-- needs to run it; four values, the last of which is its size, of one whose message has more than most_bytes.
local function own(id, owner, task, most_bytes)
    -- An archived task that is run again by hand still has the end of its lifetime set. One that never ran has
    -- none, unless purge gave it one.
    if task[9] or task[12] or task[13] or task[14] then redis.call('PERSIST', task_key(id)) end
    local number = task[11] or '0'
    local first_taken, fields = task[9], {'state', 'active', 'owner', owner, 'attempt'}
    if string.find(number, '^%d+$') and #number < 16 then
        number = string.format('%.0f', tonumber(number) + 1)
    else
        -- No number to count on from. The time of this take tells its attempts from earlier ones.
        number, first_taken = '1', nil
    end
    fields[6] = number
    if not first_taken then
        first_taken = time[1] .. string.format('%06d', tonumber(time[2]))
        fields[7], fields[8] = 'first_taken', first_taken
    end
    redis.call('HSET', task_key(id), unpack(fields))
    if task[4] then redis.call('HDEL', task_key(id), 'pending_since') end
    local legacy = false
    if not task[2] then
        legacy = redis.call('HMGET', task_key(id), 'type', 'payload', 'retry', 'max_retry', 'timeout', 'deadline')
    end
    local bytes = #(legacy and legacy[2] or task[2] or '')
    if bytes > most_bytes then return {id, number .. '-' .. first_taken, owner, bytes} end
    return {id, number .. '-' .. first_taken, owner, task[2], task[3], task[4], task[5], task[6], task[7], task[8], task[10], legacy}
end

-- Makes tasks this owner's, with a lease and a new attempt number each. The ids stand in active already, or at the
-- right end of pending, whence they are moved, the last one first.
-- Appends to answer, from the fourth value on, what the worker needs to run each, and nothing but the id where
-- something else than a hash stands at its key; adds to its second value how many are no task to run, or are being
-- worked on already: they go. Returns how many it appended. Where their messages are many bytes, it leaves ids in
-- pending and sets is_full in answer.
local function claim(ids, owner, lease_s, most_bytes, answer, are_active)
    local expiries = redis.call('ZMSCORE', LEASE, unpack(ids))
    local before, found, values, leases, again, drop = #answer, {}, {}, {}, {}, {}
    local expiry, bytes, looked_at = whole(now_s + lease_s), 0, 0
    for i = #ids, 1, -1 do
        if bytes >= MOST_BYTES and not are_active then
            answer.is_full = true
            break
        end
        looked_at = looked_at + 1
        local id = ids[i]
        local task, is_foreign = values_of(id, unpack(CLAIMED))
        local is_leased = expiries[i] and true
        if is_foreign then
            answer[#answer + 1] = {id}
            drop[#drop + 1] = id
        elseif values[id] or not runnable(id, task[1]) or is_leased and task[1] == 'active' then
            answer[2] = answer[2] + 1
            drop[#drop + 1] = id
        else
            found[#found + 1], values[id] = id, task
            local size = #(task[2] or '')
            if size <= most_bytes then bytes = bytes + size end
            leases[#leases + 1], leases[#leases + 2] = expiry, id
            -- Lease and entry of a task that was deleted at work; this one was made under its name since.
            if is_leased then again[#again + 1] = id end
        end
    end
    for _, id in ipairs(again) do
        redis.call('LREM', ACTIVE, 0, id)
        if are_active then redis.call('LPUSH', ACTIVE, id) end
    end
    if are_active then
        for _, id in ipairs(drop) do redis.call('LREM', ACTIVE, 1, id) end
    else
        -- In this order: it is the first that fails where it can, and no task is in no list.
        with_all('LPUSH', ACTIVE, found)
        redis.call('LTRIM', PENDING, 0, -looked_at - 1)
    end
    with_all('ZADD', LEASE, leases)
    for _, id in ipairs(found) do
        answer[#answer + 1] = own(id, owner, values[id], most_bytes)
    end
    return #answer - before
end
