-- Look again at tasks that ended before their stamps came: what is stamped by now holds, and stamps that came
-- to a task that was deleted go.
--
-- KEYS[1]  prefix
-- ARGV[1]  how many entries at most; each is of one settlement
-- Returns {number of entries looked at, {id...} of those that are no more, {id, milliseconds left or -1 for
-- ever...} of those whose lifetime was stamped}; their reverse lookups live in other slots and are the caller's.

-- Where a task that ended is, the field with the time of that, and the stamp that says for how long.
local ENDED = {
    completed = {'completed_at', 'ttl_completed'},
    archived = {'last_failed_at', 'ttl_archived'},
}

-- The entry's look and ids; one that no script has written holds none.
local function unpacked(entry)
    local is_whole, ids = pcall(cmsgpack.unpack, entry)
    is_whole = is_whole and type(ids) == 'table' and LOOK_AFTER_S[ids[1]]
    for position = 2, is_whole and #ids or 1 do
        is_whole = is_whole and type(ids[position]) == 'string'
    end
    return is_whole and ids or {#LOOK_AFTER_S}
end

local entries = redis.call('ZRANGEBYSCORE', ENDED_EARLY, '-inf', now_s, 'LIMIT', 0, tonumber(ARGV[1]))
local deleted, stamped, again = {}, {}, {}
for look = 1, #LOOK_AFTER_S do again[look] = {} end
for _, entry in ipairs(entries) do
    -- First of all: a full Redis refuses ZADD, but lets a script go on that has begun to write.
    redis.call('ZREM', ENDED_EARLY, entry)
    local ids = unpacked(entry)
    local look = table.remove(ids, 1)
    local is_last = look >= #LOOK_AFTER_S
    for _, id in ipairs(ids) do
        local state = values_of(id, 'state')[1]
        local ended = ENDED[state]
        local is_over = not ended and not state and no_task(id)
        if ended then
            local ended_at, stamp = unpack(redis.call('HMGET', task_key(id), unpack(ended)))
            local ttl_s = lifetime(stamp)
            if ttl_s then
                -- What is over already ends at once, and not never, as a lifetime of 0 would.
                if ttl_s > 0 then ttl_s = math.max(ttl_s + (tonumber(ended_at) or now_s) - now_s, 0.001) end
                shelve(id, state, ttl_s)
                stamped[#stamped + 1] = id
                stamped[#stamped + 1] = left_ms(id)
            end
        elseif is_over and is_last then
            deleted[#deleted + 1] = id
        end
        if (ended or is_over) and not is_last then
            again[look + 1][#again[look + 1] + 1] = id
        end
    end
end
for look, ids in ipairs(again) do look_later(ids, look) end
return {#entries, deleted, stamped}
