#!lua
-- leave: takes a unit whose dispatcher stops off the list of those that can claim.
--
-- What it still holds stays leased and is reclaimed; with nothing held, nothing of it remains but
-- its role, which it finds again when it comes back.
--
-- KEYS:    units unit active leases idle_since hungry_short hungry_long woken_short woken_long wake
-- ARGV:    unit_name
-- RETURNS: OK | HELD jobs
local units, unit, active, leases, idle_since, hungry_short, hungry_long, woken_short, woken_long, wake =
  unpack(KEYS)
local unit_name = unpack(ARGV)

for _, names in ipairs({ hungry_short, hungry_long, woken_short, woken_long }) do
  redis.call('ZREM', names, unit_name)
end
redis.call('DEL', wake)
local held = redis.call('ZCARD', leases)
if held > 0 then
  redis.call('ZADD', units, 0, unit_name)
  return { 'HELD', held }
end
redis.call('ZREM', units, unit_name)
redis.call('DEL', unit, active, leases, idle_since)
return { 'OK' }
