-- Append consecutive records to an episode, or say why not. The only writer of steps: it compares the epoch and
-- the committed step, so a request sent twice, by two clients, or by two replicas is committed once.
-- KEYS: meta, ring.
-- ARGV: epoch, step of the first record, K, episode return and return-to-go after the last record, then the records.
-- A record begins with its step (8 bytes) and its digest (16 bytes); the rest is not looked at here.
local epoch, committed, ended, ttl = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'step', 'ended', 'ttl'))
if not epoch then return {'missing', -1} end
committed = tonumber(committed)
if epoch ~= ARGV[1] then return {'other_epoch', committed} end

local first, context_length = tonumber(ARGV[2]), tonumber(ARGV[3])
local records = #ARGV - 5
local last = first + records - 1
local size = #ARGV[6]
if first > committed + 1 then return {'gap', committed} end
if last <= committed - context_length then return {'too_old', committed} end

-- What is recorded never changes: it has to be the same.
local stored
for step = math.max(first, committed - context_length + 1), math.min(last, committed) do
  local offset = (step % context_length) * size
  stored = redis.call('GETRANGE', KEYS[2], offset, offset + size - 1)
  if string.sub(stored, 9, 24) ~= string.sub(ARGV[6 + step - first], 9, 24) then return {'changed', committed} end
end
if last <= committed then return {'replay', committed, stored} end
if ended == '1' then return {'ended', committed} end

for step = committed + 1, last do
  redis.call('SETRANGE', KEYS[2], (step % context_length) * size, ARGV[6 + step - first])
end
redis.call('HSET', KEYS[1], 'step', last, 'episode_return', ARGV[4], 'return_to_go', ARGV[5])
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return {'committed', last}
