-- Move due scheduled and retry tasks to pending, behind what waits there already, and say what
-- else of the queue wants looking after, so that an idle queue costs one command a round.
--
-- KEYS[1]  prefix
-- ARGV[1]  how many to move at most
-- Returns {moved, seconds until the next one is due or '', leases run out, active entries without a lease,
-- entries of ended tasks to be looked at again, ended tasks to be purged, Redis's time}.

-- Seconds after its score at which an entry is due: asynq's clients cut the time they were given to the
-- second, and nothing scheduled may run before its time. A retry is rounded up by who writes it.
local DUE_AFTER_S = {scheduled = 1, retry = 0}

need_list(PENDING)
local moved, next_due = 0, nil
for _, name in ipairs({'scheduled', 'retry'}) do
    local waiting, after_s = prefix .. name, DUE_AFTER_S[name]
    local due = redis.call('ZRANGEBYSCORE', waiting, '-inf', now_s - after_s, 'LIMIT', 0, tonumber(ARGV[1]) - moved)
    for _, id in ipairs(due) do
        redis.call('ZREM', waiting, id)
        local state = values_of(id, 'state')[1]
        -- An entry left behind by a task that runs, has ended or is gone is none to run.
        if not (state == 'active' and redis.call('ZSCORE', LEASE, id)) and runnable(id, state) then
            redis.call('HSET', task_key(id), 'state', 'pending', 'pending_since', now_ns)
            redis.call('LPUSH', PENDING, id)
            moved = moved + 1
        end
    end
    local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
    local first_due = first[2] and tonumber(first[2]) + after_s
    if first_due and (not next_due or first_due < next_due) then next_due = first_due end
end
local lapsed = redis.call('ZCOUNT', LEASE, '-inf', now_s)
local stranded = math.max(0, redis.call('LLEN', ACTIVE) - redis.call('ZCARD', LEASE))
local over = 0
for _, shelf in ipairs({'completed', 'archived'}) do
    over = over + redis.call('ZCOUNT', prefix .. shelf, '-inf', now_s)
end
local early = redis.call('ZCOUNT', ENDED_EARLY, '-inf', now_s)
return {moved, next_due and tostring(math.max(0, next_due - now_s)) or '', lapsed, stranded, early, over,
    tostring(now_s)}
