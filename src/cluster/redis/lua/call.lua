-- KEYS: life, nodes, call:GEN. ARGV: the prefix, node, generation, number, run, era; generations alive, each
-- with a comma; how long an id is remembered, in ms, how many are, how many of these whoever has them, and how
-- many of the rest one owner may have; messages and bytes of a channel that is stored, and of one in memory;
-- then each entry, as its kind and fields.
--
-- Does a call once. The number is its first write and the answer its last: a number without an answer is a
-- call that failed in the middle, which is never made again.
local call, ARGV, byte, sub = redis.call, ARGV, string.byte, string.sub
local P, GEN, ERA = ARGV[1], ARGV[3], ARGV[6]
local life = call('HMGET', KEYS[1], 'run', 'era', 'half', 'opened')
if life[1] ~= ARGV[5] or life[2] ~= ERA then
  return 'L'
end
local kept = call('HMGET', KEYS[3], 'number', 'dead')
local number, last = tonumber(ARGV[4]), tonumber(kept[1] or 0)
if number == last then
  call('HINCRBY', KEYS[3], 'again', '1')
  local answer = call('HGET', KEYS[3], 'answer')
  return answer == '' and 'B' or answer
end
if kept[2] or call('HGET', KEYS[2], ARGV[2]) ~= GEN then
  return 'G'
end
if number < last then
  return 'O'
end
call('HSET', KEYS[3], 'number', ARGV[4], 'answer', '')
local n = string.format('%.0f', call('HINCRBY', KEYS[1], 'n', '1'))

local INBOX, K, HELD = P .. 'inbox:', P .. 'k', 'm ' .. n .. ' '
local BOUNDS = {
  s = { tonumber(ARGV[12]), tonumber(ARGV[13]) },
  m = { tonumber(ARGV[14]), tonumber(ARGV[15]) },
}
local channels, changed, routes, reached, reached_list, refused = {}, {}, {}, {}, {}, {}

local alive
local function is_alive(generation)
  if not alive then
    alive = { [GEN] = true }
    for one in string.gmatch(ARGV[7], '%d+') do
      alive[one] = true
    end
  end
  return alive[generation]
end

-- The channel as it stands; false if it isn't there.
local function known(name)
  local channel = channels[name]
  if channel == nil then
    local key = P .. 'm:' .. name
    local facts = call('HMGET', key, 'e', 'o', 'b', 'r', 't')
    channel = facts[1] and {
      key = key, list = P .. 'l:' .. name, epoch = facts[1], newest = tonumber(facts[2]),
      size = tonumber(facts[3]), era = facts[4], kind = facts[5] or 's',
    }
    channels[name] = channel
  end
  return channel
end

-- The channel, which begins now if it isn't there, and in a new epoch if its era is over.
local function begun(name, epoch, kind)
  local channel = known(name)
  if not channel then
    local key = P .. 'm:' .. name
    call('HSET', key, 'e', epoch, 'o', '0', 'b', '0', 'r', ERA)
    call('ZADD', K, '0', name)
    channel = {
      key = key, list = P .. 'l:' .. name, epoch = epoch, newest = 0, size = 0, era = ERA, kind = 's',
    }
    channels[name] = channel
  elseif channel.era ~= ERA then
    channel.epoch, channel.era = epoch, ERA
    call('HSET', channel.key, 'e', epoch, 'r', ERA)
  end
  if kind ~= 'n' and kind ~= channel.kind then
    channel.kind = kind
    if kind == 'm' then
      call('HSET', channel.key, 't', 'm')
    else
      call('HDEL', channel.key, 't')
    end
  end
  return channel
end

local function drop(channel, count)
  for _, payload in ipairs(call('LPOP', channel.list, count) or {}) do
    channel.size = channel.size - #payload
  end
end

local NOBODY = { receivers = '0' }
local function routes_of(name)
  local found = routes[name]
  if not found then
    local pairs_of = call('HGETALL', P .. 'r:' .. name)
    if not pairs_of[1] then
      routes[name] = NOBODY
      return NOBODY
    end
    local receivers = 0
    found = { receivers = '0' }
    for i = 1, #pairs_of, 2 do
      found[#found + 1] = pairs_of[i]
      if is_alive(pairs_of[i]) then
        receivers = receivers + pairs_of[i + 1]
        found.receivers = '' .. receivers
      end
    end
    routes[name] = found
  end
  return found
end

-- Sends a frame to the nodes that hear a channel; a held one waits there for its mark.
local function post(found, frame, is_held)
  for i = 1, #found do
    local generation = found[i]
    call('PUBLISH', INBOX .. generation, frame)
    if is_held and not reached[generation] then
      reached[generation] = true
      reached_list[#reached_list + 1] = generation
    end
  end
end

-- Appends a message; where the channel ends now is written after all entries, also if one of them fails.
local function append(name, epoch, kind, payload)
  if kind == 'n' then
    return '-', '0'
  end
  local channel, bounds = begun(name, epoch, kind), BOUNDS[kind]
  local count = call('RPUSH', channel.list, payload)
  local newest = channel.newest + 1
  channel.newest, channel.size = newest, channel.size + #payload
  if not channel.is_changed then
    channel.is_changed = true
    changed[#changed + 1] = channel
  end
  if count >= bounds[1] + 16 then
    drop(channel, 16)
    count = count - 16
  end
  while channel.size > bounds[2] and count > 1 do
    drop(channel, 1)
    count = count - 1
  end
  return channel.epoch, '' .. newest
end

-- Numbers are made texts here: Redis takes three times as long for it.
local function write_changed()
  for i = 1, #changed do
    local channel = changed[i]
    channel.is_changed = false
    call('HSET', channel.key, 'o', '' .. channel.newest, 'b', '' .. channel.size)
  end
  changed = {}
end

local function send(name, epoch, offset, payload)
  local found = routes_of(name)
  if found[1] then
    local is_held = epoch ~= '-'
    local head = is_held and HELD or 'm 0 '
    post(found, head .. epoch .. ' ' .. offset .. ' ' .. #name .. '\n' .. name .. payload, is_held)
  end
  return found.receivers
end

-- A producer's numbers come in order, so a mark says that all up to it are settled.
local function raise_mark(producer, mark)
  local before = call('HGET', P .. 'marks', producer)
  if not before or tonumber(before) < tonumber(mark) then
    call('HSET', P .. 'marks', producer, mark)
  end
end

local function settle(name, epoch, kind, producer, mark)
  local channel = begun(name, epoch, kind)
  call('HSET', channel.key, 'p:' .. producer, mark)
  raise_mark(producer, mark)
end

-- The windows of ids. The open one is followed by the other when it is old enough, one step a call.
local open, other, shares, ids
local IDS_MAX, IDS_UNSHARED, SHARE_MAX = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local function open_windows()
  local time, half, opened = call('TIME'), life[3] or '0', tonumber(life[4])
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local is_new = not opened or now < opened
  if opened and now - opened >= tonumber(ARGV[8]) then
    half, is_new = half == '0' and '1' or '0', true
    call('UNLINK', P .. 'd:' .. half, P .. 'ids:' .. half)
  end
  if is_new then
    call('HSET', KEYS[1], 'half', half, 'opened', string.format('%.0f', now))
  end
  open, other = P .. 'd:' .. half, P .. 'd:' .. (half == '0' and '1' or '0')
  shares, ids = P .. 'ids:' .. half, call('HLEN', open)
end

-- Why no id of an owner can be remembered, if none can. The last ids of a window are dealt in shares, so that
-- nobody takes them all.
local function refusal_of(owner)
  if ids >= IDS_MAX then
    return 't'
  end
  if ids >= IDS_UNSHARED and tonumber(call('HGET', shares, owner) or 0) >= SHARE_MAX then
    return 'u'
  end
end

local function remember(id, owner, place)
  call('HSET', open, id, place)
  if ids >= IDS_UNSHARED then
    call('HINCRBY', shares, owner, '1')
  end
  ids = ids + 1
end

-- Each kind of entry: takes the place of its first field, returns the outcome and the next place.
local enter = {}

-- What the kind of a message says: of its channels, whether it has an id, and whether a producer.
local kinds = {}
local function kind_of(text)
  local kind = kinds[text]
  if not kind then
    kind = {
      first = sub(text, 2, 2), second = sub(text, 3, 3),
      has_id = sub(text, 4, 4) == 'i', has_mark = sub(text, 5, 5) == 'p',
    }
    kinds[text] = kind
  end
  return kind
end

function enter.m(at, text)
  local name, epoch, payload = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local kind = kind_of(text)
  local first, second = kind.first, kind.second
  local name2, epoch2, id, owner, producer, mark
  at = at + 3
  if second ~= '-' then
    name2, epoch2, at = ARGV[at], ARGV[at + 1], at + 2
  end
  if kind.has_id then
    id, owner, at = ARGV[at], ARGV[at + 1], at + 2
  end
  if kind.has_mark then
    producer, mark, at = ARGV[at], ARGV[at + 1], at + 2
    if refused[producer] then
      return refused[producer], at
    end
    local settled = call('HGET', P .. 'm:' .. name, 'p:' .. producer)
    if settled and tonumber(mark) <= tonumber(settled) then
      return 'p', at
    end
  end
  if id then
    if not open then
      open_windows()
    end
    local place = call('HGET', open, id) or call('HGET', other, id)
    if place then
      if producer then
        settle(name, epoch, first, producer, mark)
      end
      return 'r ' .. place, at
    end
    local why = refusal_of(owner)
    if why then
      if producer then
        refused[producer] = why
      end
      return why, at
    end
  end
  local e, o = append(name, epoch, first, payload)
  local e2, o2
  if name2 then
    e2, o2 = append(name2, epoch2, second, payload)
  end
  if producer then
    settle(name, epoch, first, producer, mark)
  end
  if id then
    remember(id, owner, e .. ' ' .. o)
  end
  local receivers = send(name, e, o, payload)
  if name2 then
    send(name2, e2, o2, payload)
    return 'S ' .. e .. ' ' .. o .. ' ' .. e2 .. ' ' .. o2 .. ' ' .. receivers, at
  end
  return 's ' .. e .. ' ' .. o .. ' ' .. receivers, at
end

function enter.p(at)
  local name, epoch = ARGV[at], ARGV[at + 1]
  local key, list = P .. 'm:' .. name, P .. 'l:' .. name
  write_changed()
  local kind = call('HGET', key, 't')
  call('UNLINK', key, list, P .. 'a:' .. name)
  call('HSET', key, 'e', epoch, 'o', '0', 'b', '0', 'r', ERA)
  if kind then
    call('HSET', key, 't', kind)
  end
  call('ZADD', K, '0', name)
  channels[name] = nil
  post(routes_of(name), 'p ' .. n .. ' ' .. epoch .. ' ' .. #name .. '\n' .. name, true)
  return 'd', at + 2
end

function enter.t(at)
  local channel = known(ARGV[at])
  if channel then
    local kept_count = call('LLEN', channel.list)
    local count = tonumber(ARGV[at + 1]) - (channel.newest - kept_count)
    if count > 0 then
      drop(channel, math.min(count, kept_count))
      call('HSET', channel.key, 'b', '' .. channel.size)
    end
  end
  return 'd', at + 2
end

function enter.a(at)
  local name, uid, epoch, offset = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local channel = known(name)
  if channel and (epoch == '-' or epoch == channel.epoch) and offset <= channel.newest then
    local key = P .. 'a:' .. name
    local before = call('HGET', key, uid)
    local begin = channel.epoch .. ':'
    if not before or sub(before, 1, 7) ~= begin or tonumber(sub(before, 8)) < offset then
      call('HSET', key, uid, begin .. ARGV[at + 3])
    end
  end
  return 'd', at + 4
end

function enter.b(at, kind)
  local room, uid, is_lasting = ARGV[at], ARGV[at + 1], kind == 'b1'
  local members, memberships = P .. 'sm:' .. room, P .. 's:' .. uid
  if is_lasting then
    call('SADD', members, uid)
    call('SADD', memberships, room)
    call('SADD', P .. 'lasting', room)
  else
    call('SREM', members, uid)
    call('SREM', memberships, room)
    if call('EXISTS', members) == 0 then
      call('SREM', P .. 'lasting', room)
    end
  end
  local told = {}
  local frame = 'b ' .. sub(kind, 2) .. ' ' .. #room .. '\n' .. room .. uid
  for _, name in ipairs({ room, '@' .. uid }) do
    for _, generation in ipairs(routes_of(name)) do
      if not told[generation] then
        told[generation] = true
        call('PUBLISH', INBOX .. generation, frame)
      end
    end
  end
  return 'd', at + 2
end

function enter.k(at)
  raise_mark(ARGV[at], ARGV[at + 1])
  return 'd', at + 2
end

local function attach(name, epoch, kind)
  begun(name, epoch, kind)
  if call('HSETNX', P .. 'r:' .. name, GEN, '0') == 1 then
    call('SADD', P .. 'x:' .. GEN, 'r:' .. name)
    routes[name] = nil
  end
end

-- The channels as they stand, the user's lasting rooms and acknowledgements in them.
local function entered(names, lasting, reader, replaced)
  local text, acks = {}, {}
  for i, name in ipairs(names) do
    local channel = channels[name]
    local floor = channel.newest - call('LLEN', channel.list)
    text[i] = #name .. ' ' .. channel.epoch .. ' ' .. channel.newest .. ' ' .. floor .. '\n' .. name
    local acked = reader and call('HGET', P .. 'a:' .. name, reader)
    if acked and sub(acked, 1, 7) == channel.epoch .. ':' then
      acks[#acks + 1] = #name .. ' ' .. sub(acked, 8) .. '\n' .. name
    end
  end
  for i, room in ipairs(lasting) do
    lasting[i] = #room .. '\n' .. room
  end
  local head = 'e ' .. #text .. ' ' .. #lasting .. ' ' .. #acks .. ' ' .. replaced .. '\n'
  return head .. table.concat(text) .. table.concat(lasting) .. table.concat(acks)
end

function enter.h(at, kind)
  local reader
  attach(ARGV[at], ARGV[at + 1], sub(kind, 2, 2))
  if byte(kind, 3) == 114 then
    reader = ARGV[at + 2]
  end
  return entered({ ARGV[at] }, {}, reader, '-'), at + (reader and 3 or 2)
end

function enter.d(at)
  local name = ARGV[at]
  call('HDEL', P .. 'r:' .. name, GEN)
  call('SREM', P .. 'x:' .. GEN, 'r:' .. name)
  routes[name] = nil
  return 'd', at + 1
end

-- Writes a connection down, without those of generations that aren't alive; takes out the oldest if there
-- are too many.
local function connect(fd, uid, since, connections_max)
  local key, count, oldest, oldest_since = P .. 'u:' .. uid, 0, nil, nil
  local rows = call('HGETALL', key)
  for i = 1, #rows, 2 do
    local one = rows[i]
    local generation, one_since = string.match(rows[i + 1], '^(%d+):(%d+):')
    if not generation or not is_alive(generation) then
      call('HDEL', key, one)
    elseif one ~= fd then
      count, one_since = count + 1, tonumber(one_since)
      if not oldest or one_since < oldest_since
        or one_since == oldest_since and tonumber(one) < tonumber(oldest) then
        oldest, oldest_since = one, one_since
      end
    end
  end
  if not oldest or count < connections_max then
    oldest = '-'
  else
    call('HDEL', key, oldest)
  end
  call('HSET', key, fd, GEN .. ':' .. since .. ':')
  call('HSET', P .. 'c:' .. GEN, fd, uid)
  return oldest
end

-- The epoch of a lasting room that is new, out of the random bits that came with the call.
local DIGITS = '0123456789abcdefghjkmnpqrstvwxyz'
local function epoch_of(bits, room)
  for i = 1, #room do
    bits = (bits * 31 + byte(room, i)) % 1073741824
  end
  local text = ''
  for _ = 1, 6 do
    local digit = bits % 32 + 1
    text = sub(DIGITS, digit, digit) .. text
    bits = math.floor(bits / 32)
  end
  return text
end

function enter.l(at, kind)
  local fd, uid = ARGV[at], ARGV[at + 1]
  local replaced = connect(fd, uid, ARGV[at + 2], tonumber(ARGV[at + 3]))
  local bits, count = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local names, has = {}, {}
  at = at + 6
  for i = 1, count do
    names[i] = ARGV[at + 1]
    has[names[i]] = true
    attach(names[i], ARGV[at + 2], ARGV[at])
    at = at + 3
  end
  local lasting = call('SMEMBERS', P .. 's:' .. uid)
  for _, room in ipairs(lasting) do
    if not has[room] then
      names[#names + 1] = room
      attach(room, epoch_of(bits, room), 'n')
    end
  end
  return entered(names, lasting, kind == 'la' and uid, replaced), at
end

enter['0'] = function(at)
  return 'd', at
end

local outcomes = {}
local is_done, failure = pcall(function()
  local at, count, all = 16, 0, #ARGV
  while at <= all do
    local kind = ARGV[at]
    count = count + 1
    outcomes[count], at = enter[sub(kind, 1, 1)](at + 1, kind)
  end
end)
write_changed()
if not is_done then
  return redis.error_reply('BROKEN ' .. (type(failure) == 'table' and failure.err or tostring(failure)))
end
local answer = 'D ' .. n .. ' ' .. table.concat(reached_list, ',') .. '\n' .. table.concat(outcomes, '\n')
call('HSET', KEYS[3], 'answer', answer)
return answer
