#!lua flags=allow-oom
-- KEYS: life. ARGV: run, replid, whether each write is synced, the engine's clock in ms; the run and era that
-- the caller believed in, the calls that it saw there to be safe, and whether a change is trusted.
-- Takes the run for the present life; the era rises where calls were lost, or may have been.
local run, known_run, known_era = ARGV[1], ARGV[5], tonumber(ARGV[6])
local seen, is_trusted = tonumber(ARGV[7]), ARGV[8] == '1'
local life = redis.call('HMGET', KEYS[1], 'run', 'era', 'n', 'n0', 'past')
local function text(number)
  return string.format('%.0f', number)
end
local era, n, n0
if not life[1] then
  era, n, n0 = math.max(known_era, tonumber(ARGV[4])) + 1, seen, seen
else
  local is_first, past = life[1] ~= run, life[5] or ''
  era, n, n0 = tonumber(life[2]), tonumber(life[3]), tonumber(life[4])
  if is_first then
    n0 = n
    -- Of the last 16 runs that are over, the calls that the life after each began with.
    local kept, count = { life[1] .. ' ' .. text(n) .. ';' }, 1
    for one in string.gmatch(past, '[^;]+;') do
      if count < 16 then
        count = count + 1
        kept[count] = one
      end
    end
    past = table.concat(kept)
    redis.call('HSET', KEYS[1], 'past', past)
  end
  local survived = n
  if known_run ~= run then
    survived = 0
    for one, at in string.gmatch(past, '([^;]-) (%d+);') do
      if one == known_run then
        survived = tonumber(at)
        break
      end
    end
  end
  local is_behind = seen > survived
  if is_behind then
    n, n0 = math.max(n, seen), math.max(n0, seen)
  end
  -- Who believed in an older era knows nothing that any channel still goes by.
  if known_era > era or is_behind and known_era == era then
    era, n0 = known_era + 1, n
  elseif is_first and not is_trusted then
    era = era + 1
  end
end
redis.call('HSET', KEYS[1], 'run', run, 'replid', ARGV[2], 'always', ARGV[3], 'format', '1',
  'era', text(era), 'n', text(n), 'n0', text(n0))
return { run, text(era), text(n), text(n0), ARGV[2], ARGV[3] }
