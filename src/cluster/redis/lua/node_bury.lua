-- KEYS: nodes, gone, n:GEN, call:GEN, clean:GEN. ARGV: prefix, generation, its beat or nothing, the
-- cleaner, milliseconds for which it alone cleans, seconds for which the end of the calls is kept.
-- Takes a generation out for good, unless it beats again or another node that stands cleans it away.
local cleaner = redis.call('GET', KEYS[5])
if cleaner and cleaner ~= ARGV[4] then
  local name = redis.call('HGET', ARGV[1] .. ':n:' .. cleaner, 'node')
  if name and redis.call('HGET', KEYS[1], name) == cleaner then
    return 0
  end
end
local node = redis.call('HGET', KEYS[3], 'node')
if node and redis.call('HGET', KEYS[1], node) == ARGV[2] then
  if redis.call('HGET', KEYS[3], 'beat') ~= ARGV[3] then
    return 0
  end
  redis.call('HDEL', KEYS[1], node)
end
redis.call('SET', KEYS[5], ARGV[4], 'PX', ARGV[5])
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[4], 'dead', '1')
redis.call('EXPIRE', KEYS[4], ARGV[6])
tell_generations(ARGV[1], KEYS[1])
return 1
