-- Give an episode that is lost, or behind what its client saw answered, its last timesteps back, under a new epoch.
-- Begins with records.lua.
-- KEYS: meta, ring.
-- ARGV: step of the first record, K, policy, revision, digest of the fields sent, ttl in seconds, how many of the
-- next arguments are fields and values of the meta hash, these, then the records.
local policy, revision, committed, ended, start, oldest, schema = unpack(
  redis.call('HMGET', KEYS[1], 'policy', 'revision', 'step', 'ended', 'start', 'first', 'schema'))
local first, context_length, at = tonumber(ARGV[1]), tonumber(ARGV[2]), 8 + tonumber(ARGV[7])
committed, oldest = tonumber(committed), tonumber(oldest or 0)
if policy then
  if policy ~= ARGV[3] or revision ~= ARGV[4] then return {'exists', committed} end
  if ended == '1' then return {'ended', committed} end
  if committed > first + #ARGV - at then return {'ahead', committed} end
end

-- What is still here of the timesteps before the first one stays, where none between is missing.
local continued = policy and committed >= first - 1
redis.call('DEL', KEYS[1])
if not continued then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[1], 'start', start or ARGV[5], 'ttl', ARGV[6], unpack(ARGV, 8, at - 1))
local short = redis.call('HGET', KEYS[1], 'first')
if continued and short and oldest < tonumber(short) then
  redis.call('HSET', KEYS[1], 'first', oldest, 'schema', schema)
end
append_records(first, at, first - 1, context_length)
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[6])
return {'restored', first + #ARGV - at}
