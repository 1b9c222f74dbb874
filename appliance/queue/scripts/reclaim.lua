-- Return ids that sit in active without a lease to pending, nothing charged.
--
-- KEYS[1]  prefix
-- ARGV[1...]  ids
-- Returns how many were returned; those that got a lease meanwhile are left alone.

local returned = 0
for _, id in ipairs(ARGV) do
    if not redis.call('ZSCORE', LEASE, id) and unclaim(id) then returned = returned + 1 end
end
return returned
