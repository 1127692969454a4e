-- KEYS: nodes, n:GEN, gone. ARGV: prefix, node, generation, the node's clock; then names and values of
-- what the node says of itself.
-- Counts one more if the generation stands; returns that, the beats of all that stand, and those that are
-- over.
local stands = redis.call('HGET', KEYS[1], ARGV[2]) == ARGV[3]
if stands then
  local time = redis.call('TIME')
  local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
  redis.call('HSET', KEYS[2], 'beat_at', now, 'skew', string.format('%d', tonumber(ARGV[4]) - tonumber(now)),
    unpack(ARGV, 5))
  redis.call('HINCRBY', KEYS[2], 'beat', 1)
end
local standing = {}
for _, generation in ipairs(redis.call('HVALS', KEYS[1])) do
  standing[#standing + 1] = generation
  standing[#standing + 1] = redis.call('HGET', ARGV[1] .. ':n:' .. generation, 'beat') or '0'
end
return {stands and '1' or '0', standing, redis.call('SMEMBERS', KEYS[3])}
