#!lua flags=no-writes,allow-oom
-- look: whether a claim may be of use to a unit that waits for a wake-up; changes nothing.
--
-- A job that has just come has woken somebody. One that has waited for late_ms says that a wake-up was lost; it
-- counts if this unit might take it, by its slots, bounds and role as in claim. class is whose jobs count: short,
-- long or, empty, both. A unit with room for its role that is not on the list of those who wait would not be woken
-- at all.
--
-- KEYS:    waiting_short waiting_long requeued_short requeued_long hungry_short hungry_long role active units unit policy
-- ARGV:    unit_name now_ms alive_ms late_ms class limit limit_short limit_long online_short online_long short_tokens long_jobs rasp_steal_cooldown_s starvation_bound_s
-- RETURNS: CLAIM | REST
local waiting_short, waiting_long, requeued_short, requeued_long, hungry_short, hungry_long, role, active, units,
  unit, policy = unpack(KEYS)
local unit_name, now_ms, alive_ms, late_ms, class, limit, limit_short, limit_long, online_short, online_long,
  short_tokens, long_jobs, rasp_steal_cooldown_s, starvation_bound_s = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

if redis.call('HGET', unit, 'draining') == '1' then
  return { 'REST' }
end
local live = redis.call('EXISTS', policy) == 1 and redis.call('HMGET', policy, 'worker_concurrency_limit',
  'worker_concurrency_limit_short', 'worker_concurrency_limit_long', 'rasp_steal_cooldown_s',
  'starvation_bound_s') or {}
local function limit_of(override, setting)
  local whole = override and string.match(override, '^%d+$')
  return whole and tonumber(whole) > 0 and tonumber(whole) or tonumber(setting)
end
local function seconds_of(override, setting) return tonumber((override or ''):match('^%d+%.?%d*$') or setting) end
local both = limit_of(live[1], limit)
local limits = { short = limit_of(live[2], limit_short) or both, long = limit_of(live[3], limit_long) or both }
local function found(limit, online) return math.min(limit, tonumber(online) or math.huge) end
local slots = { short = found(limits.short, online_short), long = found(limits.long, online_long) }
local mine = redis.call('GET', role) or 'short'
local other = mine == 'short' and 'long' or 'short'
local counts = redis.call('HMGET', active, 'short', 'long')
local held = { short = tonumber(counts[1] or 0), long = tonumber(counts[2] or 0) }
local bounded = short_tokens .. long_jobs ~= ''
local open = { short = (tonumber(short_tokens) or 1) > 0, long = (tonumber(long_jobs) or 1) > 0 }
local function fits(class)
  local weight = class == 'short' and slots.long or slots.short
  return slots.short * slots.long - held.short * slots.long - held.long * slots.short >= weight
end
if open[mine] and fits(mine) and not redis.call('ZSCORE', mine == 'short' and hungry_short or hungry_long, unit_name) then
  return { 'CLAIM' }
end

local queues = { short = { waiting_short, requeued_short }, long = { waiting_long, requeued_long } }
local waits = { short = redis.call('EXISTS', unpack(queues.short)), long = redis.call('EXISTS', unpack(queues.long)) }
local function oldest(name)
  local since = math.huge
  for _, queue in ipairs(queues[name]) do
    since = math.min(since, tonumber(redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2]) or math.huge)
  end
  return since
end

-- Whether a claim might take a job of the other class: where this says no, none would.
local function takes_other()
  local alone = mine == 'short' and bounded and redis.call('ZCOUNT', units, now - alive_ms, '+inf') <= 1
  if not (fits(other) and (open[other] or alone)) then
    return false
  elseif held.long == 0 and (mine == 'long' and waits.long == 0 or held.short == 0) then
    return true
  end
  local leaves = mine == 'short' and bounded and not alone and seconds_of(live[4], rasp_steal_cooldown_s) > 0
  local bound_ms = seconds_of(live[5], starvation_bound_s) * 1000
  return bound_ms > 0 and held[other] == 0 and not leaves and now - oldest(other) > bound_ms
end

local function late(name) return (class == '' or class == name) and now - oldest(name) >= tonumber(late_ms) end
if late(mine) and open[mine] and fits(mine) or late(other) and takes_other() then
  return { 'CLAIM' }
end
return { 'REST' }
