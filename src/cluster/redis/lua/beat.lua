#!lua flags=allow-oom
-- KEYS: nodes, n:GEN. ARGV: node, generation.
-- Counts one more, if the generation still stands; otherwise says which one does.
local now = redis.call('HGET', KEYS[1], ARGV[1])
if now ~= ARGV[2] then
  return now or ''
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'beat_at', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
redis.call('HINCRBY', KEYS[2], 'beat', 1)
return now
