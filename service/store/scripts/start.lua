-- Start an episode, or find that it was started before.
-- KEYS: meta, ring. ARGV: digest of the fields sent, ttl in seconds, then field, value, field, value ...
local digest = redis.call('HGET', KEYS[1], 'start')
if digest then
  if digest == ARGV[1] then return 'same' end
  return 'exists'
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'start', ARGV[1], 'ttl', ARGV[2], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 'started'
