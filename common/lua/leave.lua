#!lua flags=allow-oom
-- leave: takes a unit whose dispatcher stops off the list of those that can claim.
--
-- What it still holds stays leased and is reclaimed: the unit stays known, but silent. With nothing
-- held, nothing of it remains but its role, and that it is to drain: it finds both again when it
-- comes back. If it was woken for a job that it will not claim now, the wake-up goes on to the next.
--
-- KEYS:    units pulse unit active leases idle_since hungry_short hungry_long woken_short woken_long group_short group_long models wake unit_prefix wake_prefix
-- ARGV:    unit_name now_ms alive_ms
-- RETURNS: OK | HELD jobs
local units, pulse, unit, active, leases, idle_since, hungry_short, hungry_long, woken_short, woken_long,
  group_short, group_long, models, wake, unit_prefix, wake_prefix = unpack(KEYS)
local unit_name, now_ms, alive_ms = unpack(ARGV)

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

local told = { short = redis.call('ZSCORE', woken_short, unit_name), long = redis.call('ZSCORE', woken_long, unit_name) }
for _, names in ipairs({ hungry_short, hungry_long, woken_short, woken_long, group_short, group_long }) do
  redis.call('ZREM', names, unit_name)
end
redis.call('DEL', wake)
-- As in submit.
local function hand_on(from, to, below)
  for _ = 1, 8 do
    local first = redis.call('ZRANGE', from, 0, 0, 'WITHSCORES')
    if not first[1] or tonumber(first[2]) >= below then
      return false
    end
    redis.call('ZREM', from, first[1])
    if tonumber(redis.call('ZSCORE', units, first[1]) or 0) >= judged - alive_ms then
      redis.call('ZADD', to, first[2], first[1])
      redis.call('PEXPIRE', to, 1000, 'NX')
      redis.call('RPUSH', wake_prefix .. first[1], 'claim')
      redis.call('PEXPIRE', wake_prefix .. first[1], 60000)
      return true
    end
  end
  return false
end
if told.short and not hand_on(hungry_short, woken_short, math.huge) then
  hand_on(hungry_long, woken_long, 10)
elseif told.long and not hand_on(hungry_long, woken_long, math.huge) then
  hand_on(hungry_short, woken_short, 0)
end
-- As in register: what it served stays while another unit serves it.
for model in string.gmatch(redis.call('HGET', unit, 'models') or '', '[^\n]+') do
  local kept = false
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', units, judged - alive_ms, '+inf')) do
    local theirs = '\n' .. (redis.call('HGET', unit_prefix .. name, 'models') or '') .. '\n'
    if name ~= unit_name and string.find(theirs, '\n' .. model .. '\n', 1, true) then
      kept = true
      break
    end
  end
  if not kept then
    redis.call('ZREM', models, model)
  end
end
local held = redis.call('ZCARD', leases)
if held > 0 then
  redis.call('ZADD', units, judged - alive_ms - 1, unit_name)
  return { 'HELD', held }
end
redis.call('ZREM', units, unit_name)
local draining = redis.call('HGET', unit, 'draining')
redis.call('DEL', unit, active, leases, idle_since)
if draining == '1' then
  redis.call('HSET', unit, 'draining', draining)
end
return { 'OK' }
