-- Claim ids that a blocking move has put into active for us. Between the move and this script an
-- id has no lease; a worker that finds it like that for long may return it (reclaim), and then it is
-- not ours to claim.
--
-- KEYS[1]  prefix
-- ARGV[1]  owner      ARGV[2]  lease, seconds      ARGV[3]  void from, see too_late
-- ARGV[4]  bytes of a message that is fetched, at most      ARGV[5...]  ids
-- Returns {0, 1: paused, 2: too late, number of stray ids dropped, Redis's time, claimed task...}; see claim.

if too_late(ARGV[3]) then return {2, 0, tostring(now_s)} end
need_rights(RELEASE, CLAIM, NOTE, FREE)
local paused = redis.call('EXISTS', prefix .. 'paused')
local answer, ids = {paused, 0, tostring(now_s)}, {}
for i = #ARGV, 5, -1 do
    local id = ARGV[i]
    -- A lease beside another state than active is one of a task that was deleted at work, see claim.
    local is_claimed = redis.call('ZSCORE', LEASE, id) and values_of(id, 'state')[1] == 'active'
    if redis.call('LPOS', ACTIVE, id) and not is_claimed then
        if paused == 1 then
            unclaim(id)
        else
            ids[#ids + 1] = id
        end
    end
end
if #ids > 0 then claim(ids, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), answer, true) end
return answer
