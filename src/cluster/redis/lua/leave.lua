#!lua flags=allow-oom
-- KEYS: nodes, gone. ARGV: node, generation.
-- Takes out a generation, which is cleaned up afterwards.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('SADD', KEYS[2], ARGV[2])
end
return 1
