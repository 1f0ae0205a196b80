-- Attempts to log in: see attempts.py. Each key is a hash of «tried» and «until» (ms), gone a quiet time after the last.
-- KEYS: what is counted. ARGV: try or good, quiet (ms); then free, first, longest (ms) for each key; longest 0: no lock.
-- Answers: ms to wait, then how often each was tried. Who has to wait is not counted.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tried, wait = {}, 0

for at, key in ipairs(KEYS) do
  local known = redis.call('HMGET', key, 'tried', 'until')
  tried[at] = tonumber(known[1] or 0)
  wait = math.max(wait, tonumber(known[2] or 0) - now)
end

if ARGV[1] == 'good' then
  redis.call('DEL', KEYS[1])
  for at = 2, #KEYS do
    if tried[at] > 0 then
      redis.call('HINCRBY', KEYS[at], 'tried', -1)
    end
  end
  return {0, unpack(tried)}
end

if wait > 0 then
  return {wait, unpack(tried)}
end
for at, key in ipairs(KEYS) do
  local free, first, longest = tonumber(ARGV[3 * at]), tonumber(ARGV[3 * at + 1]), tonumber(ARGV[3 * at + 2])
  tried[at] = tried[at] + 1
  redis.call('HSET', key, 'tried', tried[at])
  if longest > 0 and tried[at] >= free then
    redis.call('HSET', key, 'until', now + math.min(longest, first * 2 ^ math.min(tried[at] - free, 30)))
  end
  redis.call('PEXPIRE', key, ARGV[2])
end
return {0, unpack(tried)}
