-- Look at one task, wherever it is; changes nothing. One script, so that it cannot be seen between two places.
--
-- KEYS[1]  prefix
-- ARGV[1]  id      ARGV[2]  how many entries of a list are looked through for it
-- Returns {Redis's time, hash's fields, false, or the type of what stands there instead, bytes of the result, tasks in pending, tasks before it
-- there or false, 1 if it is in active, lease's end, due in scheduled, due in retry, purge time in
-- completed, in archived, paused or false}.

local id, most = ARGV[1], ARGV[2]
local key = task_key(id)
local fields, kind = false, redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then
    fields = kind
elseif kind == 'hash' then
    fields = redis.call('HMGET', key, 'state', 'attempt', 'owner', 'msg', 'retried', 'pending_since',
        'ttl_completed', 'ttl_archived', 'pending_timeout', 'active_timeout', 'type', 'payload', 'retry',
        'max_retry', 'timeout', 'deadline', 'error_msg', 'last_failed_at', 'completed_at', 'crashes')
end
local pending = redis.call('LLEN', PENDING)
-- The right end is served first.
local index = redis.call('LPOS', PENDING, id, 'RANK', -1, 'MAXLEN', most)
local is_active = redis.call('LPOS', ACTIVE, id, 'MAXLEN', most)
return {
    tostring(now_s),
    fields,
    unless_misfit('HSTRLEN', key, 'result') or 0,
    pending,
    index and pending - 1 - index,
    is_active and 1 or 0,
    redis.call('ZSCORE', LEASE, id),
    redis.call('ZSCORE', prefix .. 'scheduled', id),
    redis.call('ZSCORE', prefix .. 'retry', id),
    redis.call('ZSCORE', prefix .. 'completed', id),
    redis.call('ZSCORE', prefix .. 'archived', id),
    redis.call('GET', prefix .. 'paused'),
}
