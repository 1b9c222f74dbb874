-- Take up to so many pending tasks.
--
-- KEYS[1]  prefix
-- ARGV[1]  owner      ARGV[2]  lease, seconds      ARGV[3]  void from, see too_late
-- ARGV[4]  bytes of a message that is fetched, at most      ARGV[5]  how many at most
-- Returns {0, 1: paused, 2: too late, 3: more may wait than it brought, number of stray ids dropped, Redis's time, claimed task...}; see claim.

-- Strays dropped in one call, so that a list full of them does not hold Redis up. A take that ends
-- here brings less than asked, and says so.
local MOST_STRAYS = 1000

if too_late(ARGV[3]) then return {2, 0, tostring(now_s)} end
if redis.call('EXISTS', prefix .. 'paused') == 1 then return {1, 0, tostring(now_s)} end
need_rights({'LPUSH', ACTIVE, ''}, {'LTRIM', PENDING, 0, 0}, CLAIM, NOTE, FREE)
local answer, wanted = {0, 0, tostring(now_s)}, tonumber(ARGV[5])
while wanted > 0 and answer[2] < MOST_STRAYS and not answer.is_full do
    local ids = redis.call('LRANGE', PENDING, -math.min(wanted, MOST_AT_ONCE), -1)
    if #ids == 0 then break end
    wanted = wanted - claim(ids, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), answer, false)
end
if answer.is_full or answer[2] >= MOST_STRAYS then answer[1] = 3 end
return answer
