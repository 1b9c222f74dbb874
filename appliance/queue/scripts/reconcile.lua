-- Return tasks that are ours in Redis but unknown to us: the reply of a take was lost on the way.
-- Only to be called while no take of this worker is under way.
--
-- KEYS[1]  prefix
-- ARGV[1]  owner      ARGV[2...]  ids we know of
-- Returns {id...} of those returned, nothing charged.

local known, answer = {}, {}
need_zset(LEASE)
need_list(PENDING)
need_rights(RELEASE, UNLEASE, NOTE, {'RPUSH', PENDING, ''})
for i = 2, #ARGV do known[ARGV[i]] = true end
for _, id in ipairs(redis.call('LRANGE', ACTIVE, 0, -1)) do
    if not known[id] then
        local held = values_of(id, 'owner', 'state')
        -- An entry without a claim may name us for an earlier attempt; it is another worker's arrival.
        if held[1] == ARGV[1] and held[2] == 'active' then
            release(id)
            put_back(id)
            disown(id)
            answer[#answer + 1] = id
        end
    end
end
return answer
