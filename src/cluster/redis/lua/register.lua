#!lua flags=allow-oom
-- KEYS: nodes, n:GEN, gone. ARGV: node, generation, version, started.
-- Enters a generation. The one before it is over from this moment on, and is cleaned up afterwards.
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before and before ~= ARGV[2] then
  redis.call('SADD', KEYS[3], before)
end
redis.call('SREM', KEYS[3], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'node', ARGV[1], 'version', ARGV[3], 'started', ARGV[4],
  'beat_at', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
redis.call('HINCRBY', KEYS[2], 'beat', 1)
return 1
