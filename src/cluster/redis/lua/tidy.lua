#!lua flags=allow-oom
-- KEYS: life, nodes, k, upkeep. ARGV: the prefix, node, generation, the channel behind which to go on, the
-- most channels, ages of messages in a channel that is stored and in one in memory (0 for none), how long an
-- id is remembered; in ms.
-- Returns nothing if another node does the upkeep; else messages and channels that went, and where it ended.
local call = redis.call
local P, GEN = ARGV[1], ARGV[3]
local life = call('HMGET', KEYS[1], 'run', 'half', 'opened')
local tidier = call('GET', KEYS[4])
if not life[1] or call('HGET', KEYS[2], ARGV[2]) ~= GEN or tidier and tidier ~= GEN then
  return {}
end
call('SET', KEYS[4], GEN, 'PX', 5000)
local time = call('TIME')
local now, repeat_ms = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[8])
local now_text = string.format('%.0f', now)
local opened = tonumber(life[3])
if opened and now < opened then
  call('HSET', KEYS[1], 'opened', now_text)
elseif opened and now - opened >= repeat_ms then
  local half = life[2] == '0' and '1' or '0'
  call('UNLINK', P .. 'd:' .. half, P .. 'ids:' .. half)
  call('HSET', KEYS[1], 'half', half, 'opened', now_text)
end

-- The time of a message, which stands behind its first byte as a varint.
local function said(payload)
  local ms, factor = 0, 1
  for i = 2, math.min(#payload, 10) do
    local byte = string.byte(payload, i)
    ms, factor = ms + byte % 128 * factor, factor * 128
    if byte < 128 then
      break
    end
  end
  return ms
end

local function age(key, list, facts)
  local age_max = tonumber(facts[3] and ARGV[7] or ARGV[6])
  local size, gone = tonumber(facts[2]), 0
  while age_max > 0 and gone < 256 do
    local payload = call('LINDEX', list, 0)
    if not payload or said(payload) + age_max > now then
      break
    end
    call('LPOP', list)
    size, gone = size - #payload, gone + 1
  end
  if gone > 0 then
    call('HSET', key, 'b', size)
  end
  return gone
end

-- Forgets a channel that nobody hears and that has nothing, if it was so all the time of a repeat.
local function forget(name, key, list, facts)
  if call('EXISTS', list, P .. 'r:' .. name, P .. 'sm:' .. name) > 0 then
    return 0
  end
  local newest, since = string.match(facts[4] or '', '^(%d+) (%d+)$')
  since = tonumber(since)
  if newest ~= facts[1] or since > now then
    call('HSET', key, 'i', facts[1] .. ' ' .. now_text)
    return 0
  end
  if now - since < repeat_ms then
    return 0
  end
  call('UNLINK', key, P .. 'a:' .. name)
  call('ZREM', KEYS[3], name)
  return 1
end

local after = ARGV[4] == '' and '-' or '(' .. ARGV[4]
local names = call('ZRANGE', KEYS[3], after, '+', 'BYLEX', 'LIMIT', 0, ARGV[5])
local trimmed, forgotten = 0, 0
for _, name in ipairs(names) do
  local key, list = P .. 'm:' .. name, P .. 'l:' .. name
  local facts = call('HMGET', key, 'o', 'b', 't', 'i')
  if facts[1] then
    trimmed = trimmed + age(key, list, facts)
    forgotten = forgotten + forget(name, key, list, facts)
  else
    call('ZREM', KEYS[3], name)
  end
end
local next_name = #names == tonumber(ARGV[5]) and names[#names] or ''
return { trimmed, forgotten, next_name }
