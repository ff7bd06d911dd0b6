#!lua flags=allow-oom
-- beat: says that a gateway lives, and keeps its reply stream.
--
-- Every heartbeat, of gateways here and of units in register, also feels the pool's pulse. When
-- nobody has beaten for half of alive_ms, it was Redis that was away; then, until all have had the time to
-- beat again, silence and leases are judged as of the last beat before (spoke_ms). The stream outlives its
-- gateway's silence by reply_ttl_ms, so that an outage loses no answer.
--
-- KEYS:    gateways reply pulse
-- ARGV:    gateway now_ms alive_ms reply_ttl_ms
-- RETURNS: OK
local gateways, reply, pulse = unpack(KEYS)
local gateway, now_ms, alive_ms, reply_ttl_ms = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- After a silence of everybody it was Redis that was away: for alive_ms nobody is judged by it.
local beat, grace = unpack(redis.call('HMGET', pulse, 'beat_ms', 'grace_ms'))
if beat and now - beat > alive_ms / 2 then
  if not (grace and tonumber(beat) < tonumber(grace)) then
    redis.call('HSET', pulse, 'spoke_ms', beat)
  end
  redis.call('HSET', pulse, 'grace_ms', now + alive_ms)
end
redis.call('HSET', pulse, 'beat_ms', now)

redis.call('ZADD', gateways, now, gateway)
if redis.call('PEXPIRE', reply, reply_ttl_ms) == 0 then
  redis.call('XADD', reply, '*', 'opened', gateway)
  redis.call('PEXPIRE', reply, reply_ttl_ms)
end
return { 'OK' }
