#!lua flags=no-writes
-- KEYS: life. ARGV: the prefix, generation, channels.
-- Says of each channel whether the generation has its route, and how far it is; - where it isn't known, or
-- where its era is over.
local P, era = ARGV[1], redis.call('HGET', KEYS[1], 'era')
local looked = {}
for i = 3, #ARGV do
  local facts = redis.call('HMGET', P .. 'm:' .. ARGV[i], 'e', 'o', 'r')
  local route = redis.call('HEXISTS', P .. 'r:' .. ARGV[i], ARGV[2])
  local place = facts[1] and facts[3] == era and facts[1] .. ' ' .. facts[2] or '- 0'
  looked[i - 2] = route .. ' ' .. place
end
return table.concat(looked, '\n')
