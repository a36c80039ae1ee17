-- The ring of an episode's last records; the scripts that append to it begin with this text.
-- New records are the last arguments, consecutive, ARGV[at] the one of step `first`. A record begins with its step
-- (8 bytes) and its digest (16 bytes); the rest is not looked at here.

-- Whether those among them that are recorded already are the same, and the last of these as it is stored.
-- What has left the ring, or was never in it, cannot be compared any more.
local function same_records(first, at, committed, oldest, context_length)
  local last, stored = first + #ARGV - at, false
  for step = math.max(first, oldest, committed - context_length + 1), math.min(last, committed) do
    local record = ARGV[at + step - first]
    local offset = (step % context_length) * #record
    stored = redis.call('GETRANGE', KEYS[2], offset, offset + #record - 1)
    if string.sub(stored, 9, 24) ~= string.sub(record, 9, 24) then return false, stored end
  end
  return true, stored
end

local function append_records(first, at, committed, context_length)
  for step = math.max(first, committed + 1), first + #ARGV - at do
    local record = ARGV[at + step - first]
    redis.call('SETRANGE', KEYS[2], (step % context_length) * #record, record)
  end
end
