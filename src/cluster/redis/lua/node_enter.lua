-- KEYS: nodes, n:GEN, gone. ARGV: prefix, node, generation, start | over | free, the one that gives way;
-- address, version, promise, settings, started; then the node's blocks of serials.
-- Enters a node. The generation before it is over from then on, and all nodes are told.
local before = redis.call('HGET', KEYS[1], ARGV[2])
if before and before ~= ARGV[3] then
  local other = ARGV[1] .. ':n:' .. before
  local beat = redis.call('HGET', other, 'beat')
  local address = redis.call('HGET', other, 'address')
  local gives = ARGV[4] == 'over' and before == ARGV[5]
    or ARGV[4] == 'start' and (not beat or not address or address == ARGV[6])
  if not gives then
    return {before, beat or '0', address or ''}
  end
  redis.call('SADD', KEYS[3], before)
end
redis.call('SREM', KEYS[3], ARGV[3])
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'node', ARGV[2], 'address', ARGV[6], 'version', ARGV[7], 'promise', ARGV[8],
  'settings', ARGV[9], 'started', ARGV[10],
  'beat_at', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
redis.call('HINCRBY', KEYS[2], 'beat', 1)
for i = 11, #ARGV do
  redis.call('HSET', ARGV[1] .. ':blocks', ARGV[i], ARGV[3])
end
tell_generations(ARGV[1], KEYS[1])
return {}
