#!lua flags=allow-oom
-- forget: removes a gateway that has left, or that is dead, and its reply stream.
--
-- With dead_only = 1 a gateway that has beaten again meanwhile is left alone.
--
-- KEYS:    gateways reply pulse
-- ARGV:    gateway now_ms alive_ms dead_only
-- RETURNS: OK | ALIVE
local gateways, reply, pulse = unpack(KEYS)
local gateway, now_ms, alive_ms, dead_only = unpack(ARGV)

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

if dead_only == '1' and tonumber(redis.call('ZSCORE', gateways, gateway) or 0) >= judged - alive_ms then
  return { 'ALIVE' }
end
redis.call('ZREM', gateways, gateway)
redis.call('DEL', reply)
return { 'OK' }
