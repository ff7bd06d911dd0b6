#!lua flags=allow-oom
-- drain: lets a unit claim nothing more, or again; that holds until it is changed, come what may.
--
-- A unit that drains counts for no role. One that is to take jobs again is asked to claim.
--
-- KEYS:    units unit role group_short group_long wake
-- ARGV:    unit_name draining
-- RETURNS: OK
local units, unit, role, group_short, group_long, wake = unpack(KEYS)
local unit_name, draining = unpack(ARGV)

redis.call('HSET', unit, 'draining', draining)
if draining == '1' then
  redis.call('ZREM', group_short, unit_name)
  redis.call('ZREM', group_long, unit_name)
  return { 'OK' }
end
local beat = redis.call('ZSCORE', units, unit_name)
if beat then
  redis.call('ZADD', redis.call('GET', role) == 'long' and group_long or group_short, beat, unit_name)
end
redis.call('RPUSH', wake, 'claim')
redis.call('PEXPIRE', wake, 60000)
return { 'OK' }
