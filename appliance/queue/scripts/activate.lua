-- Claim ids that a blocking move has put into active for us. Between the move and this script an
-- id has no lease; whoever finds it like that for long may give it back (reclaim), and then it is
-- not ours to claim.
--
-- KEYS[1]  prefix
-- ARGV[1]  owner      ARGV[2]  lease, seconds      ARGV[3...]  ids
-- Returns {paused 0|1, number of stray ids dropped, Redis's time, claimed task...}; see claim.

local paused = redis.call('EXISTS', prefix .. 'paused')
local answer = {paused, 0, tostring(now_s)}
for i = 3, #ARGV do
    local id = ARGV[i]
    if redis.call('LPOS', ACTIVE, id) and not redis.call('ZSCORE', LEASE, id) then
        if paused == 1 then
            unclaim(id)
        else
            local task = claim(id, ARGV[1], tonumber(ARGV[2]))
            if task then
                answer[#answer + 1] = task
            else
                redis.call('LREM', ACTIVE, 1, id)
                answer[2] = answer[2] + 1
            end
        end
    end
end
return answer
