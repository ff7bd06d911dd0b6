#!lua flags=allow-oom
-- flip: changes one unit's role, if that leaves enough units in the role it had.
--
-- The guards stand here and not in the scaler alone, so that they hold with two scalers, or with one
-- that decided on an old view. Units that are dead or draining do not count. When there are too few
-- Short units, min_long does not hold back the repair. The cooldown holds as long as its key exists,
-- whatever an operator wrote there; on virtual time, which the key's TTL knows nothing of, a value
-- that is a time holds until then.
--
-- KEYS:    units pulse leader cooldown role hungry_short hungry_long woken_short woken_long group_short group_long events role_prefix unit_prefix wake_prefix
-- ARGV:    scaler unit_name to now_ms alive_ms cooldown_ms min_short min_long events_kept reason
-- RETURNS: OK | NOT_LEADER leader | COOLDOWN | SAME | DEAD | MIN_SHORT short_units | MIN_LONG long_units
local units, pulse, leader, cooldown, role, hungry_short, hungry_long, woken_short, woken_long, group_short,
  group_long, events, role_prefix, unit_prefix, wake_prefix = unpack(KEYS)
local scaler, unit_name, to, now_ms, alive_ms, cooldown_ms, min_short, min_long, events_kept, reason =
  unpack(ARGV)

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

local holder = redis.call('GET', leader)
if holder ~= scaler then
  return { 'NOT_LEADER', holder or '' }
end
local cooled = redis.call('GET', cooldown)
if cooled and (now_ms == '' or (tonumber(cooled) or now + 1) > now) then
  return { 'COOLDOWN' }
end
if (redis.call('GET', role) or 'short') == to then
  return { 'SAME' }
end
if tonumber(redis.call('ZSCORE', units, unit_name) or 0) < judged - alive_ms then
  return { 'DEAD' }
end

-- Role by role, key by key: it is these keys that a claim reads. As soon as there are enough, no more are read.
local alive, need = { short = 0, long = 0 }, { short = tonumber(min_short), long = tonumber(min_long) }
need[to == 'long' and 'short' or 'long'] = need[to == 'long' and 'short' or 'long'] + 1
for _, name in ipairs(redis.call('ZRANGEBYSCORE', units, judged - alive_ms, '+inf')) do
  if alive.short >= need.short and (to == 'long' or alive.long >= need.long) then
    break
  end
  if redis.call('HGET', unit_prefix .. name, 'draining') ~= '1' then
    local has = redis.call('GET', role_prefix .. name) or 'short'
    alive[has] = alive[has] + 1
  end
end
if to == 'long' and alive.short - 1 < tonumber(min_short) then
  return { 'MIN_SHORT', alive.short }
end
if to == 'short' and alive.short >= tonumber(min_short) and alive.long - 1 < tonumber(min_long) then
  return { 'MIN_LONG', alive.long }
end

redis.call('SET', role, to)
local from = to == 'long' and group_short or group_long
local beat = redis.call('ZSCORE', from, unit_name)
if beat then
  redis.call('ZREM', from, unit_name)
  redis.call('ZADD', to == 'long' and group_long or group_short, beat, unit_name)
end
if tonumber(cooldown_ms) > 0 then
  redis.call('SET', cooldown, string.format('%.0f', now + cooldown_ms), 'PX', cooldown_ms)
end
local hungry, woken = to == 'long' and hungry_short or hungry_long, to == 'long' and woken_short or woken_long
local told = redis.call('ZSCORE', woken, unit_name)
for _, names in ipairs({ hungry_short, hungry_long, woken_short, woken_long }) do
  redis.call('ZREM', names, unit_name)
end
-- As in submit: a job that it was woken for is the next one's of the role that it had.
for _ = 1, told and 8 or 0 do
  local first = redis.call('ZRANGE', hungry, 0, 0, 'WITHSCORES')
  if not first[1] then
    break
  end
  redis.call('ZREM', hungry, first[1])
  if tonumber(redis.call('ZSCORE', units, first[1]) or 0) >= judged - alive_ms then
    redis.call('ZADD', woken, first[2], first[1])
    redis.call('PEXPIRE', woken, 1000, 'NX')
    redis.call('RPUSH', wake_prefix .. first[1], 'claim')
    redis.call('PEXPIRE', wake_prefix .. first[1], 60000)
    break
  end
end
redis.call('RPUSH', wake_prefix .. unit_name, 'claim')
redis.call('PEXPIRE', wake_prefix .. unit_name, 60000)
redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', 'flipped', 'unit', unit_name, 'to', to,
  'reason', reason, 'at_ms', now)
return { 'OK' }
