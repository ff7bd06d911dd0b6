#!lua flags=allow-oom
-- claim: takes up to a unit's free slots, each job for one attempt, or says when to ask again.
--
-- Order: a job of the other class that has starved; requeued jobs, then new ones, of the unit's own
-- class; what RASP lets it have of the other class. Slots are a weighted semaphore: with limits S
-- and L a short job weighs L, a long one S, and the unit holds S * L. Of a burst a unit takes only
-- what keeps it level with the other units that are waiting, and wakes the next of them. A job past
-- its deadline, or whose gateway is gone, is ended here and never handed out.
--
-- job_prefix, reply_prefix and wake_prefix lie in the pool's slot; which jobs and units they meet is
-- known only inside. policy holds live overrides of the settings of the same names; limit_short and
-- limit_long are empty when limit counts for them. most bounds what this claim takes, empty: nothing does.
--
-- KEYS:    queue_short queue_long requeued_short requeued_long role active leases idle_since hungry_short hungry_long woken_short woken_long units unit gateways pulse bytes policy events job_prefix reply_prefix wake_prefix
-- ARGV:    unit_name now_ms alive_ms lease_ms ttl_ms events_kept most limit limit_short limit_long rasp_steal rasp_steal_cooldown_s rasp_long_takes_short starvation_bound_s
-- RETURNS: OK role wait_ms job ... | DRAINING | NOGROUP
--          job is: id class attempt why submitted_ms now_ms deadline_ms gateway route stream body
--          queued_ms traceparent; queued_ms is when it was submitted or last requeued
--          why is: own, requeued, stolen, borrowed or starved; wait_ms is -1 when there is nothing to wait for
local queue_short, queue_long, requeued_short, requeued_long, role, active, leases, idle_since, hungry_short,
  hungry_long, woken_short, woken_long, units, unit, gateways, pulse, bytes, policy, events, job_prefix,
  reply_prefix, wake_prefix = unpack(KEYS)
local unit_name, now_ms, alive_ms, lease_ms, ttl_ms, events_kept, most, limit, limit_short, limit_long,
  rasp_steal, rasp_steal_cooldown_s, rasp_long_takes_short, starvation_bound_s = unpack(ARGV)

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

-- Added to the load of a hungry Long unit that holds long jobs: it may not borrow, so no short job
-- wakes it.
local HOLDS_LONG = 10

local queues = { short = queue_short, long = queue_long }
local requeued = { short = requeued_short, long = requeued_long }
local hungry = { short = hungry_short, long = hungry_long }
local woken = { short = woken_short, long = woken_long }
local opposite = { short = 'long', long = 'short' }

-- Live overrides are rare: without any, their names need not be looked up.
local live = {}
if redis.call('EXISTS', policy) == 1 then
  live = redis.call('HMGET', policy, 'worker_concurrency_limit', 'worker_concurrency_limit_short',
    'worker_concurrency_limit_long', 'rasp_steal', 'rasp_steal_cooldown_s', 'rasp_long_takes_short',
    'starvation_bound_s')
end
-- Only what the settings would take: a whole number from 1 on for a limit, one without a sign for a time.
local function limit_of(override, setting)
  local whole = override and string.match(override, '^%d+$')
  return whole and tonumber(whole) > 0 and tonumber(whole) or tonumber(setting)
end
local function seconds_of(override, setting)
  local decimal = override and string.match(override, '^%d+%.?%d*$')
  return tonumber(decimal or setting)
end
-- The words that the settings take, so that a live override means here what it means there.
local function on(override, setting)
  if override then
    local word = ' ' .. string.lower(override) .. ' '
    if string.find(' 1 true t on yes y ', word, 1, true) then
      return true
    elseif string.find(' 0 false f off no n ', word, 1, true) then
      return false
    end
  end
  return setting == '1'
end
local both = limit_of(live[1], limit)
local limits = { short = limit_of(live[2], limit_short) or both, long = limit_of(live[3], limit_long) or both }
local may_steal = on(live[4], rasp_steal)
local cooldown_ms = seconds_of(live[5], rasp_steal_cooldown_s) * 1000
local may_borrow = on(live[6], rasp_long_takes_short)
local bound_ms = seconds_of(live[7], starvation_bound_s) * 1000

redis.call('ZREM', hungry_short, unit_name)
redis.call('ZREM', hungry_long, unit_name)
redis.call('ZREM', woken_short, unit_name)
redis.call('ZREM', woken_long, unit_name)
-- From here on role is the word and no longer its key.
local role = redis.call('GET', role) or 'short'
local other = opposite[role]
local counts = redis.call('HMGET', active, 'short', 'long')
local held = { short = tonumber(counts[1] or 0), long = tonumber(counts[2] or 0) }

-- depth: submitted and not claimed. last: the newest entry that any unit was given.
local depth, last = {}, {}
for class, queue in pairs(queues) do
  local length = redis.call('XLEN', queue)
  depth[class] = 0
  if length > 0 then
    local groups = redis.pcall('XINFO', 'GROUPS', queue)
    if groups.err or not groups[1] then
      return { 'NOGROUP' }
    end
    local group = {}
    for i = 1, #groups[1], 2 do
      group[groups[1][i]] = groups[1][i + 1]
    end
    depth[class] = length - group['pending'] + redis.call('ZCARD', requeued[class])
    last[class] = group['last-delivered-id']
  end
end

local function wake(name, from, to)
  local score = redis.call('ZSCORE', from, name)
  redis.call('ZREM', from, name)
  if tonumber(redis.call('ZSCORE', units, name) or 0) < judged - alive_ms then
    return false
  end
  redis.call('ZADD', to, score, name)
  redis.call('PEXPIRE', to, 1000)
  redis.call('RPUSH', wake_prefix .. name, 'claim')
  redis.call('PEXPIRE', wake_prefix .. name, 60000)
  return true
end

-- Wakes the next unit of a role; of a bounded number, as each failed try removes one that is dead.
local function wake_next(class, below)
  local seen = redis.call('ZRANGE', hungry[class], 0, 7, 'WITHSCORES')
  for i = 1, #seen, 2 do
    if tonumber(seen[i + 1]) >= below then
      return false
    end
    if seen[i] ~= unit_name and wake(seen[i], hungry[class], woken[class]) then
      return true
    end
  end
  return false
end

if redis.call('HGET', unit, 'draining') == '1' then
  -- Whoever was woken for a job in vain hands the wake-up on.
  if depth.short + depth.long > 0 and not wake_next(role, math.huge) then
    wake_next(other, role == 'short' and HOLDS_LONG or 0)
  end
  return { 'DRAINING' }
end

local function load()
  return held.short / limits.short + held.long / limits.long
end

local jobs = {}

local function room(class)
  local weight = { short = limits.long, long = limits.short }
  local used = held.short * weight.short + held.long * weight.long
  local free = math.max(0, math.floor((limits.short * limits.long - used) / weight[class]))
  return most == '' and free or math.min(free, most - #jobs)
end

local function end_unclaimed(job, id, class, seen, outcome, reason)
  redis.call('XACK', queues[class], 'units', seen[2])
  redis.call('XDEL', queues[class], seen[2])
  redis.call('HSET', job, 'state', 'finished', 'outcome', outcome, 'reason', reason, 'finished_ms', now)
  -- The count of bytes changes only together with the body that it counts.
  redis.call('DECRBY', bytes, redis.call('HSTRLEN', job, 'body'))
  redis.call('HDEL', job, 'body')
  redis.call('PEXPIRE', job, ttl_ms)
  redis.call('XADD', reply_prefix .. (seen[4] or ''), 'NOMKSTREAM', '*', id .. ':' .. seen[6] .. ':end',
    cjson.encode({ outcome = outcome, reason = reason }))
  redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', outcome, 'job', id, 'class', class,
    'reason', reason, 'at_ms', now)
end

-- Hands out one entry that is now pending under this unit. Answers whether it did.
local function hand_out(id, entry, class, why)
  local job = job_prefix .. id
  local seen = redis.call('HMGET', job, 'state', 'entry', 'deadline_ms', 'gateway', 'submitted_ms', 'attempt',
    'route', 'stream', 'body', 'unit', 'queued_ms', 'traceparent')
  if seen[1] == 'running' and seen[2] == entry then
    -- The group was made anew and gives out entries that a unit already holds.
    redis.call('XCLAIM', queues[class], 'units', seen[10], 0, entry, 'JUSTID')
    return false
  end
  if seen[1] ~= 'queued' or seen[2] ~= entry then
    redis.call('XACK', queues[class], 'units', entry)
    redis.call('XDEL', queues[class], entry)
    return false
  end
  if tonumber(seen[3]) <= now then
    end_unclaimed(job, id, class, seen, 'expired', 'deadline passed while queued')
    return false
  end
  if tonumber(redis.call('ZSCORE', gateways, seen[4] or '') or 0) < judged - alive_ms then
    end_unclaimed(job, id, class, seen, 'cancelled', 'gateway gone')
    return false
  end
  local attempt = redis.call('HINCRBY', job, 'attempt', 1)
  redis.call('HSET', job, 'state', 'running', 'unit', unit_name, 'claimed_ms', now, 'why', why, 'role', role)
  redis.call('ZADD', leases, now + lease_ms, id)
  redis.call('HINCRBY', active, class, 1)
  redis.call('DEL', idle_since)
  held[class] = held[class] + 1
  redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event',
    (class == role or why == 'requeued') and 'claimed' or 'stolen', 'job', id, 'class', class, 'unit', unit_name,
    'attempt', attempt, 'role', role, 'why', why, 'at_ms', now)
  jobs[#jobs + 1] = { id, class, attempt, why, seen[5], now, seen[3], seen[4], seen[7], seen[8], seen[9],
    seen[11] or seen[5], seen[12] or '' }
  return true
end

-- Takes up to n jobs of a class. Entries that nobody waits for any more are cleared on the way, a
-- bounded number of them: the rest is for the next claim.
local function take(class, n, why)
  local taken = 0
  for _ = 1, 4 do
    if taken >= n then
      return taken
    end
    local asked = n - taken
    local again = redis.call('ZRANGE', requeued[class], 0, asked - 1)
    for _, id in ipairs(again) do
      local entry = redis.call('HGET', job_prefix .. id, 'entry')
      redis.call('ZREM', requeued[class], id)
      depth[class] = depth[class] - 1
      if entry then
        redis.call('XCLAIM', queues[class], 'units', unit_name, 0, entry, 'JUSTID')
        if hand_out(id, entry, class, why == 'own' and 'requeued' or why) then
          taken = taken + 1
        end
      end
    end
    if taken >= n then
      return taken
    end
    -- As many as were asked for came, and some were ended here: others may wait, before any new one.
    if #again < asked then
      local read = redis.call('XREADGROUP', 'GROUP', 'units', unit_name, 'COUNT', n - taken, 'STREAMS',
        queues[class], '>')
      if not read then
        return taken
      end
      for _, item in ipairs(read[1][2]) do
        depth[class] = depth[class] - 1
        if hand_out(item[2][2], item[1], class, why) then
          taken = taken + 1
        end
      end
    end
  end
  return taken
end

-- How many of n jobs to take now so that the units of this class that wait, woken or not, stay level.
-- The sixteen least loaded of them are enough to decide: together they hold more than one claim.
local function share(class, n)
  n = math.min(n, depth[class])
  local mine = load()
  if n < 1 or (n == 1 and mine == 0) then
    return n
  end
  local loads = {}
  for _, names in ipairs({ hungry[class], woken[class] }) do
    local seen = redis.call('ZRANGE', names, 0, 15, 'WITHSCORES')
    for i = 1, #seen, 2 do
      if tonumber(redis.call('ZSCORE', units, seen[i]) or 0) >= judged - alive_ms then
        loads[#loads + 1] = math.max(0, tonumber(seen[i + 1])) % HOLDS_LONG
      end
    end
  end
  for took = 0, n - 1 do
    local level = mine + took / limits[class]
    local absorbed = 0
    for _, theirs in ipairs(loads) do
      absorbed = absorbed + math.max(0, math.floor((level - theirs) * limits[class] + 0.001))
    end
    if depth[class] - took <= absorbed then
      return took
    end
  end
  return n
end

local function oldest_ms(class)
  local first = redis.call('ZRANGE', requeued[class], 0, 0, 'WITHSCORES')
  if first[1] then
    return tonumber(first[2])
  end
  local entry = redis.call('XRANGE', queues[class], '(' .. last[class], '+', 'COUNT', 1)[1]
  return entry and tonumber(entry[2][6])
end

local wait_ms = -1
local function wait(ms)
  if wait_ms < 0 or ms < wait_ms then
    wait_ms = math.max(0, math.ceil(ms))
  end
end

-- A unit takes a starved job of the other class only while it holds none: an overload of one class
-- is not to push the other out of every unit.
if bound_ms > 0 and depth[other] > 0 and held[other] == 0 and room(other) > 0 then
  local since = oldest_ms(other)
  if since and now - since > bound_ms then
    take(other, 1, 'starved')
  elseif since then
    wait(since + bound_ms - now + 1)
  end
end

local idle = tonumber(redis.call('GET', idle_since) or now)
local own_before = depth[role]
if own_before > 0 then
  local wanted = math.min(room(role), own_before)
  local taken = take(role, share(role, wanted), 'own')
  if taken < wanted and depth[role] > 0 then
    wait(200)
  elseif taken == 0 and depth[role] == 0 then
    -- All were entries that nobody waits for any more: ask again, for what the other queue holds.
    wait(0)
  end
elseif role == 'short' then
  if may_steal and depth.long > 0 and held.short + held.long == 0 and room('long') > 0 then
    if now - idle >= cooldown_ms then
      take('long', 1, 'stolen')
    else
      wait(idle + cooldown_ms - now)
    end
  end
elseif may_borrow and held.long == 0 and depth.short > 0 then
  take('short', share('short', room('short')), 'borrowed')
end

if room(role) > 0 then
  local score = load()
  if score == 0 then
    -- Idle units come first, the longest idle before the others: that one may steal soonest.
    score = idle / 1e13 - 1
  elseif role == 'long' and held.long > 0 then
    score = score + HOLDS_LONG
  end
  redis.call('ZADD', hungry[role], string.format('%.17g', score), unit_name)
end
if own_before > 0 and depth[role] > 0 then
  wake_next(role, math.huge)
end
return { 'OK', role, wait_ms, unpack(jobs) }
