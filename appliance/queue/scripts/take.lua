-- Take up to so many pending tasks.
--
-- KEYS[1]  prefix
-- ARGV[1]  owner      ARGV[2]  lease, seconds      ARGV[3]  how many at most
-- Returns {paused 0|1, number of stray ids dropped, Redis's time, claimed task...}; see claim.

-- Strays dropped in one call, so that a list full of them does not hold Redis up. A take that ends
-- here brings less than asked, and what is left wakes whoever waits for it.
local MOST_STRAYS = 1000

if redis.call('EXISTS', prefix .. 'paused') == 1 then return {1, 0, tostring(now_s)} end
local answer = {0, 0, tostring(now_s)}
for _ = 1, tonumber(ARGV[3]) do
    local id = redis.call('LMOVE', PENDING, ACTIVE, 'RIGHT', 'LEFT')
    while id do
        local task = claim(id, ARGV[1], tonumber(ARGV[2]))
        if task then
            answer[#answer + 1] = task
            break
        end
        redis.call('LREM', ACTIVE, 1, id)
        answer[2] = answer[2] + 1
        if answer[2] >= MOST_STRAYS then return answer end
        id = redis.call('LMOVE', PENDING, ACTIVE, 'RIGHT', 'LEFT')
    end
    if not id then break end
end
return answer
