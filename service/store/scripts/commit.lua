-- Append consecutive records to an episode, or say why not. It compares the epoch and the committed step, so a
-- request sent twice, by two clients, or by two replicas is committed once. Begins with records.lua.
-- KEYS: meta, ring.
-- ARGV: epoch, step of the first record, K, episode return and return-to-go after the last record, then the records.
local epoch, committed, ended, ttl, oldest = unpack(
  redis.call('HMGET', KEYS[1], 'epoch', 'step', 'ended', 'ttl', 'first'))
if not epoch then return {'missing', -1} end
committed, oldest = tonumber(committed), tonumber(oldest or 0)
if epoch ~= ARGV[1] then return {'other_epoch', committed} end

local first, context_length = tonumber(ARGV[2]), tonumber(ARGV[3])
local last = first + #ARGV - 6
if first > committed + 1 then return {'gap', committed} end
if last <= committed - context_length or last < oldest then return {'too_old', committed} end

local same, stored = same_records(first, 6, committed, oldest, context_length)
if not same then return {'changed', committed} end
if last <= committed then return {'replay', committed, stored} end
if ended == '1' then return {'ended', committed} end

append_records(first, 6, committed, context_length)
redis.call('HSET', KEYS[1], 'step', last, 'episode_return', ARGV[4], 'return_to_go', ARGV[5])
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return {'committed', last}
