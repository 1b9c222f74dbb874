-- Move due scheduled and retry tasks to pending, behind what waits there already, and say what
-- else of the queue wants looking after, so that an idle queue costs one command a round.
--
-- KEYS[1]  prefix
-- ARGV[1]  how many to move at most
-- Returns {moved, seconds until the next one is due or '', leases run out, active entries without a lease}.

local moved, next_due = 0, nil
for _, name in ipairs({'scheduled', 'retry'}) do
    local waiting = prefix .. name
    local due = redis.call('ZRANGEBYSCORE', waiting, '-inf', now_s, 'LIMIT', 0, tonumber(ARGV[1]) - moved)
    for _, id in ipairs(due) do
        redis.call('ZREM', waiting, id)
        local state = redis.call('HGET', task_key(id), 'state')
        -- An entry left behind by a task that runs, has ended or is gone is none to run.
        if not (state == 'active' and redis.call('ZSCORE', LEASE, id)) and runnable(id, state) then
            redis.call('HSET', task_key(id), 'state', 'pending', 'pending_since', now_ns)
            redis.call('LPUSH', PENDING, id)
            moved = moved + 1
        end
    end
    local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
    if first[2] and (not next_due or tonumber(first[2]) < next_due) then next_due = tonumber(first[2]) end
end
local expired = redis.call('ZCOUNT', LEASE, '-inf', now_s)
local stranded = math.max(0, redis.call('LLEN', ACTIVE) - redis.call('ZCARD', LEASE))
return {moved, next_due and tostring(math.max(0, next_due - now_s)) or '', expired, stranded}
