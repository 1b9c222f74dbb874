-- Look for ids in active that have no lease: a worker died between its blocking move and the
-- claim, or another program left them.
--
-- KEYS[1]  prefix
-- Returns {id...}.

local answer = {}
for _, id in ipairs(redis.call('LRANGE', ACTIVE, 0, -1)) do
    if not redis.call('ZSCORE', LEASE, id) then answer[#answer + 1] = id end
end
return answer
