#!lua flags=no-writes,allow-oom
-- overdue: who has not spoken in time, as far as this dispatcher is to look; changes nothing.
--
-- Of a unit: which of its own leases ran out. Of the pool: units and gateways without a heartbeat, and units
-- that nobody need remember. The pool is looked at by about `lookers` dispatchers a round, however many there
-- are: were all of them to, what they cost together would grow with their square. drawn is from 0 up to 1.
--
-- KEYS:    units gateways leases pulse
-- ARGV:    now_ms alive_ms forget_ms lookers drawn
-- RETURNS: OK judged_ms lapsed units forgotten gateways; all but judged_ms are lists of names
local units, gateways, leases, pulse = unpack(KEYS)
local now_ms, alive_ms, forget_ms, lookers, drawn = unpack(ARGV)

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

local function silent(beats, ms)
  return redis.call('ZRANGEBYSCORE', beats, '-inf', '(' .. judged - ms)
end

local lapsed = redis.call('ZRANGEBYSCORE', leases, '-inf', judged, 'LIMIT', 0, 256)
local live = redis.call('ZCOUNT', units, judged - alive_ms, '+inf')
if drawn * live >= tonumber(lookers) then
  return { 'OK', judged, lapsed, {}, {}, {} }
end
return { 'OK', judged, lapsed, silent(units, alive_ms), silent(units, alive_ms + forget_ms), silent(gateways, alive_ms) }
