#!lua flags=no-writes
-- KEYS: life, m:CH, l:CH. ARGV: the offsets between which to read (0 and - for no bound), the most messages,
-- the bytes after which to end, whether the newest come first.
-- Returns the state of the channel, whether there is more, the first offset, then the messages.
local facts = redis.call('HMGET', KEYS[2], 'e', 'o', 'r')
if not facts[1] or facts[3] ~= redis.call('HGET', KEYS[1], 'era') then
  return {}
end
local newest, count = tonumber(facts[2]), redis.call('LLEN', KEYS[3])
local floor = newest - count
local first = math.max(tonumber(ARGV[1]), floor) + 1
local last = newest
if ARGV[2] ~= '-' then
  last = math.min(last, tonumber(ARGV[2]) - 1)
end
local limit, bytes_max, is_back = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local page, bytes, taken, more = { '', '', '', '', '' }, 0, 0, false
local at, step = is_back and last or first, is_back and -1 or 1
while at >= first and at <= last and not more do
  -- A piece of the list, so that a small page reads no long one.
  local far = is_back and math.max(first, at - 63) or math.min(last, at + 63)
  local from, to = math.min(at, far) - floor - 1, math.max(at, far) - floor - 1
  local piece = redis.call('LRANGE', KEYS[3], from, to)
  local i = is_back and #piece or 1
  while piece[i] do
    bytes = bytes + #piece[i]
    if taken >= limit or taken > 0 and bytes > bytes_max then
      more = true
      break
    end
    taken = taken + 1
    page[5 + taken] = piece[i]
    i = i + step
  end
  at = far + step
end
page[1], page[2], page[3] = facts[1], facts[2], string.format('%.0f', floor)
page[4] = more and '1' or '0'
page[5] = string.format('%.0f', math.max(0, is_back and last or first))
return page
