#!lua flags=no-writes,allow-oom
-- least: of the units of a role that live and take jobs, the one with the fewest; changes nothing.
--
-- Of equals the first by name. It reads the counters of all of them: for when a unit is to change its role.
--
-- KEYS:    group pulse active_prefix
-- ARGV:    now_ms alive_ms
-- RETURNS: OK unit jobs | NONE
local group, pulse, active_prefix = unpack(KEYS)
local now_ms, alive_ms = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Up to here silence counts: while Redis was away nobody could speak (see beat).
local beat, grace, spoke = unpack(redis.call('HMGET', pulse, 'beat_ms', 'grace_ms', 'spoke_ms'))
local judged = now
if beat and now - beat > alive_ms / 2 then
  judged = tonumber(beat)
end
if grace and judged < tonumber(grace) then
  judged = tonumber(spoke)
end

local least, fewest
for _, name in ipairs(redis.call('ZRANGEBYSCORE', group, judged - alive_ms, '+inf')) do
  local counts = redis.call('HMGET', active_prefix .. name, 'short', 'long')
  local jobs = (counts[1] or 0) + (counts[2] or 0)
  if not fewest or jobs < fewest or (jobs == fewest and name < least) then
    least, fewest = name, jobs
  end
end
if not least then
  return { 'NONE' }
end
return { 'OK', least, fewest }
