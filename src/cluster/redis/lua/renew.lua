#!lua flags=allow-oom
-- KEYS: life. Begins another era; says nothing where no life stands.
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'era', 1)
end
return redis.call('HMGET', KEYS[1], 'run', 'era', 'n', 'n0', 'replid', 'always')
