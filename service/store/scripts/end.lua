-- End an episode once; its last reward, and the timesteps that passed unanswered before, are counted once.
-- Begins with records.lua.
-- KEYS: meta, ring.
-- ARGV: epoch, the step that would come next, digest, episode return and return-to-go at the end, summary, K, then
-- the records up to the step before.
local epoch, committed, ended, ttl, digest, oldest = unpack(
  redis.call('HMGET', KEYS[1], 'epoch', 'step', 'ended', 'ttl', 'end_digest', 'first'))
if not epoch then return {'missing', -1} end
committed, oldest = tonumber(committed), tonumber(oldest or 0)
if epoch ~= ARGV[1] then return {'other_epoch', committed} end
if ended == '1' then
  if digest ~= ARGV[3] then return {'changed', committed} end
  return {'replay', committed, redis.call('HGET', KEYS[1], 'summary')}
end
local step, context_length = tonumber(ARGV[2]), tonumber(ARGV[7])
local first = step - #ARGV + 7
if first > committed + 1 then return {'gap', committed} end
if step <= committed then return {'too_old', committed} end
if not same_records(first, 8, committed, oldest, context_length) then return {'changed', committed} end

append_records(first, 8, committed, context_length)
redis.call('HSET', KEYS[1], 'step', step - 1, 'ended', 1, 'end_digest', ARGV[3], 'episode_return', ARGV[4],
  'return_to_go', ARGV[5], 'summary', ARGV[6])
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return {'committed', committed, ARGV[6]}
