-- End an episode once; its last reward is counted once.
-- KEYS: meta, ring.
-- ARGV: epoch, the step that would come next, digest, episode return and return-to-go at the end, summary.
local epoch, committed, ended, ttl, digest = unpack(
  redis.call('HMGET', KEYS[1], 'epoch', 'step', 'ended', 'ttl', 'end_digest'))
if not epoch then return {'missing', -1} end
committed = tonumber(committed)
if epoch ~= ARGV[1] then return {'other_epoch', committed} end
if ended == '1' then
  if digest ~= ARGV[3] then return {'changed', committed} end
  return {'replay', committed, redis.call('HGET', KEYS[1], 'summary')}
end
local step = tonumber(ARGV[2])
if step > committed + 1 then return {'gap', committed} end
if step <= committed then return {'too_old', committed} end

redis.call('HSET', KEYS[1], 'ended', 1, 'end_digest', ARGV[3], 'episode_return', ARGV[4],
  'return_to_go', ARGV[5], 'summary', ARGV[6])
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return {'committed', committed, ARGV[6]}
