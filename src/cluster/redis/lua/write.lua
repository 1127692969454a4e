-- KEYS: nodes, c:GEN, x:GEN, lasting, gone; then the keys of each change.
-- ARGV: node, generation, the prefix where the rows are those of a node of a cluster, or nothing; then each
-- change, as its kind and fields.
-- Writes what is so, if the generation still stands. Says the same when it is run again. In a cluster the
-- rooms are told who comes and goes.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
local prefix, others = ARGV[3], nil
if prefix ~= '' then
  others = others_of(KEYS[1], KEYS[5], ARGV[2])
end
local k, a = 6, 4
while a <= #ARGV do
  local kind = ARGV[a]
  if kind == '+c' then
    -- u:UID; fd, uid, value
    redis.call('HSET', KEYS[2], ARGV[a + 1], ARGV[a + 2])
    redis.call('HSET', KEYS[k], ARGV[a + 1], ARGV[a + 3])
    k, a = k + 1, a + 4
  elseif kind == '-c' then
    -- u:UID; fd, uid
    if redis.call('HGET', KEYS[2], ARGV[a + 1]) == ARGV[a + 2] then
      redis.call('HDEL', KEYS[2], ARGV[a + 1])
    end
    redis.call('HDEL', KEYS[k], ARGV[a + 1])
    k, a = k + 1, a + 3
  elseif kind == 'p' then
    -- w:ROOM:GEN, j:UID:GEN; room, uid, connections
    local room, uid, count = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
    local was = redis.call('HEXISTS', KEYS[k], uid) == 1
    if count == '-' then
      redis.call('HDEL', KEYS[k], uid)
      redis.call('HDEL', KEYS[k + 1], room)
      if redis.call('EXISTS', KEYS[k]) == 0 then
        redis.call('SREM', KEYS[3], 'w:' .. room)
      end
      if redis.call('EXISTS', KEYS[k + 1]) == 0 then
        redis.call('SREM', KEYS[3], 'j:' .. uid)
      end
    else
      redis.call('HSET', KEYS[k], uid, count)
      redis.call('HSET', KEYS[k + 1], room, count)
      redis.call('SADD', KEYS[3], 'w:' .. room, 'j:' .. uid)
    end
    if others and was ~= (count ~= '-') then
      tell_if_last(prefix, was and 'l' or 'j', room, uid, others, KEYS[k])
    end
    k, a = k + 2, a + 4
  elseif kind == 'h' then
    -- r:CH; connections. A route that isn't there isn't made by its count.
    if redis.call('HEXISTS', KEYS[k], ARGV[2]) == 1 then
      redis.call('HSET', KEYS[k], ARGV[2], ARGV[a + 1])
    end
    k, a = k + 1, a + 2
  else
    -- sm:ROOM, s:UID; room, uid
    local room, uid = ARGV[a + 1], ARGV[a + 2]
    if kind == '+l' then
      redis.call('SADD', KEYS[k], uid)
      redis.call('SADD', KEYS[k + 1], room)
      redis.call('SADD', KEYS[4], room)
    else
      redis.call('SREM', KEYS[k], uid)
      redis.call('SREM', KEYS[k + 1], room)
      if redis.call('EXISTS', KEYS[k]) == 0 then
        redis.call('SREM', KEYS[4], room)
      end
    end
    k, a = k + 2, a + 3
  end
end
return 1
