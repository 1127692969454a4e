-- What the scripts of nodes have in common; it stands before each of them.

-- The generations beside this one whose rows are there: those that stand, and those not cleaned away yet.
local function others_of(nodes, gone, generation)
  local others = {}
  for _, key in ipairs({redis.call('HVALS', nodes), redis.call('SMEMBERS', gone)}) do
    for _, other in ipairs(key) do
      if other ~= generation then
        others[#others + 1] = other
      end
    end
  end
  return others
end

-- Tells the nodes that hear a room that a user came (j) or left (l), unless the user is in the room by
-- another generation, too. It is decided here, where the row is written: nobody can stop in between and
-- tell it later.
local function tell_if_last(prefix, kind, room, uid, others, own)
  local users = redis.call('HLEN', own)
  for _, other in ipairs(others) do
    local rows = prefix .. ':w:' .. room .. ':' .. other
    if redis.call('HEXISTS', rows, uid) == 1 then
      return
    end
    users = users + redis.call('HLEN', rows)
  end
  local frame = kind .. ' ' .. #room .. ' ' .. users .. '\n' .. room .. uid
  for _, node in ipairs(redis.call('HKEYS', prefix .. ':r:' .. room)) do
    redis.call('PUBLISH', prefix .. ':inbox:' .. node, frame)
  end
end

-- Tells all nodes that generations have come or gone.
local function tell_generations(prefix, nodes)
  for _, node in ipairs(redis.call('HVALS', nodes)) do
    redis.call('PUBLISH', prefix .. ':inbox:' .. node, 'g\n')
  end
end

