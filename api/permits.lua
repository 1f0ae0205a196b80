-- The ledger of permits: see permits.py. One sorted set a bucket, of «process:chunk:permits» by when they come free.
-- KEYS: bucket. ARGV: limit, window, lease (µs), want, process, chunk, mine; then chunk, spent, age (µs) for each told.
-- Answers: permits granted (-1: what this process spent is not here), permits left, µs until more come free.
local key, process = KEYS[1], ARGV[5]
local limit, window, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local want, mine = tonumber(ARGV[4]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local told = {}
for at = 8, #ARGV, 3 do
  told[process .. ':' .. ARGV[at]] = true
end

local held, seen, first = 0, 0, nil
local function hold(count, at, own)
  held = held + count
  if own then seen = seen + count end
  if not first or at < first then first = at end
end

local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
for at = 1, #entries, 2 do
  local owner, chunk, count = string.match(entries[at], '^(%w+):(%d+):(%d+)$')
  local free_at = tonumber(entries[at + 1])
  if free_at <= now or told[owner .. ':' .. chunk] then
    redis.call('ZREM', key, entries[at])
  else
    if free_at > now + lease + window then -- the clock was set back
      free_at = now + lease + window
      redis.call('ZADD', key, free_at, entries[at])
    end
    hold(tonumber(count), free_at, owner == process)
  end
end

for at = 8, #ARGV, 3 do
  local spent, age = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if spent > 0 and age < window then
    redis.call('ZADD', key, now - age + window, process .. ':' .. ARGV[at] .. ':' .. ARGV[at + 1])
    hold(spent, now - age + window, true)
  end
end

redis.call('PEXPIRE', key, math.ceil((window + lease) / 500))
if seen < mine then
  return {-1, 0, 0}
end

local granted = math.max(0, math.min(want, limit - held))
local wait = (first or now + window) - now
if granted > 0 then
  redis.call('ZADD', key, now + lease + window, process .. ':' .. ARGV[6] .. ':' .. granted)
  redis.call('PEXPIRE', key, math.ceil((window + lease) / 500))
else
  local left = held
  entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for at = 1, #entries, 2 do
    left = left - tonumber(string.match(entries[at], ':(%d+)$'))
    wait = tonumber(entries[at + 1]) - now
    if left < limit then break end
  end
end
return {granted, math.max(0, limit - held - granted), wait}
