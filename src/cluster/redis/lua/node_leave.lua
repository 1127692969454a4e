-- KEYS: nodes, gone. ARGV: prefix, node, generation.
-- Takes a node out, which is cleaned away by the others.
if redis.call('HGET', KEYS[1], ARGV[2]) == ARGV[3] then
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('SADD', KEYS[2], ARGV[3])
  tell_generations(ARGV[1], KEYS[1])
end
return 1
