-- KEYS: nodes, gone, x:GEN, c:GEN, n:GEN, clean:GEN. ARGV: prefix, generation, rows.
-- Takes some rows and routes of a buried generation out, and tells the rooms who left by it; returns 1
-- when nothing of it is left.
local prefix, generation, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('SISMEMBER', KEYS[2], generation) == 0 then
  return 1
end
local others = others_of(KEYS[1], KEYS[2], generation)
while left > 0 do
  local name = redis.call('SPOP', KEYS[3])
  if not name then
    break
  end
  left = left - 1
  local kind, what = string.sub(name, 1, 2), string.sub(name, 3)
  if kind == 'w:' then
    local key = prefix .. ':' .. name .. ':' .. generation
    for _, uid in ipairs(redis.call('HRANDFIELD', key, left + 1)) do
      redis.call('HDEL', key, uid)
      tell_if_last(prefix, 'l', what, uid, others, key)
      left = left - 1
    end
    if redis.call('EXISTS', key) == 1 then
      redis.call('SADD', KEYS[3], name)
    end
  elseif kind == 'r:' then
    redis.call('HDEL', prefix .. ':' .. name, generation)
  else
    redis.call('UNLINK', prefix .. ':' .. name .. ':' .. generation)
  end
end
if left > 0 then
  local rows = redis.call('HRANDFIELD', KEYS[4], left, 'WITHVALUES')
  for i = 1, #rows, 2 do
    local user = prefix .. ':u:' .. rows[i + 1]
    local value = redis.call('HGET', user, rows[i])
    if value and string.sub(value, 1, #generation + 1) == generation .. ':' then
      redis.call('HDEL', user, rows[i])
    end
    redis.call('HDEL', KEYS[4], rows[i])
  end
end
if redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then
  return 0
end
local blocks = redis.call('HGETALL', prefix .. ':blocks')
for i = 1, #blocks, 2 do
  if blocks[i + 1] == generation then
    redis.call('HDEL', prefix .. ':blocks', blocks[i])
  end
end
redis.call('UNLINK', KEYS[5], KEYS[6])
redis.call('SREM', KEYS[2], generation)
return 1
