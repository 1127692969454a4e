#!lua flags=allow-oom
-- KEYS: serials, blocks. ARGV: generation, the least number.
-- Reserves a block of serial numbers: above all that were given.
local block = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) + 1, tonumber(ARGV[2]))
local text = string.format('%.0f', block)
redis.call('SET', KEYS[1], text)
redis.call('HSET', KEYS[2], text, ARGV[1])
return text
