#!lua flags=allow-oom
-- lead: takes or keeps the leadership of the scalers for ttl_ms.
--
-- KEYS:    leader
-- ARGV:    scaler ttl_ms
-- RETURNS: LEADER | STANDBY leader
local leader = unpack(KEYS)
local scaler, ttl_ms = unpack(ARGV)

local holder = redis.call('GET', leader)
if holder and holder ~= scaler then
  return { 'STANDBY', holder }
end
redis.call('SET', leader, scaler, 'PX', ttl_ms)
return { 'LEADER' }
