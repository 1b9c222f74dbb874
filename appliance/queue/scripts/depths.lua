-- Count the tasks of a queue by where they are; changes nothing. One script, so that none is counted twice.
--
-- KEYS[1]  prefix
-- Returns {pending, active, scheduled, retry, archived, completed, 1 if paused, seconds that the task which is
-- served next has been pending, or false where there is none or it does not say}.

local since
-- The right end is served first.
local oldest = redis.call('LINDEX', PENDING, -1)
if oldest then
    since = tonumber(values_of(oldest, 'pending_since')[1])
end
return {
    redis.call('LLEN', PENDING),
    redis.call('LLEN', ACTIVE),
    redis.call('ZCARD', prefix .. 'scheduled'),
    redis.call('ZCARD', prefix .. 'retry'),
    redis.call('ZCARD', prefix .. 'archived'),
    redis.call('ZCARD', prefix .. 'completed'),
    redis.call('EXISTS', prefix .. 'paused'),
    since and tostring(math.max(0, now_s - since / 1000000000)) or false,
}
