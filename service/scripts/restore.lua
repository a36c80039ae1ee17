-- Give an episode that is lost, or behind what its client saw answered, its last timesteps back, under a new epoch.
-- Begins with records.lua.
-- KEYS: meta, ring.
-- ARGV: step of the first record, K, policy, revision, digest of the fields sent, ttl in seconds, how many of the
-- next arguments are fields and values of the meta hash, these, then the records.
local policy, revision, committed, ended, start = unpack(
  redis.call('HMGET', KEYS[1], 'policy', 'revision', 'step', 'ended', 'start'))
local first, context_length, at = tonumber(ARGV[1]), tonumber(ARGV[2]), 8 + tonumber(ARGV[7])
if policy then
  committed = tonumber(committed)
  if policy ~= ARGV[3] or revision ~= ARGV[4] then return {'exists', committed} end
  if ended == '1' then return {'ended', committed} end
  if committed > first + #ARGV - at then return {'ahead', committed} end
end

redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'start', start or ARGV[5], 'ttl', ARGV[6], unpack(ARGV, 8, at - 1))
append_records(first, at, first - 1, context_length)
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[6])
return {'restored', first + #ARGV - at}
