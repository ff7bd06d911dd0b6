#!lua flags=allow-oom
-- finish: records a job's one outcome, hands over the last parts of its answer and frees its slot.
--
-- Fenced: only the running attempt, on its own unit, may finish. The body is dropped, the rest of the
-- job stays readable for ttl_ms. What was cancelled while it ran ends as its canceller said.
-- With rest = 1 the unit makes no claim in this turn: a claim that finds nothing costs more than all else
-- here. When nothing waits that it could take and that nobody was woken for, the unit is put on the list of those
-- that a submit wakes, as by a claim; else it is told to claim. Bounds count as in claim.
--
-- KEYS:    queue job active leases idle_since bytes reply events role unit units hungry_short hungry_long woken_short woken_long waiting_short waiting_long requeued_short requeued_long policy open_prefix
-- ARGV:    job_id attempt unit_name class now_ms alive_ms ttl_ms events_kept outcome status reason prompt_tokens completion_tokens rest limit limit_short limit_long online_short online_long short_tokens long_jobs rasp_steal_cooldown_s starvation_bound_s [kind part]...
-- RETURNS: OK next | GONE next | SUPERSEDED next
--          next is: CLAIM or, with nothing to claim, REST
local queue, job, active, leases, idle_since, bytes, reply, events, role, unit, units, hungry_short, hungry_long,
  woken_short, woken_long, waiting_short, waiting_long, requeued_short, requeued_long, policy, open_prefix =
  unpack(KEYS)
local job_id, attempt, unit_name, class, now_ms, alive_ms, ttl_ms, events_kept, outcome, status, reason,
  prompt_tokens, completion_tokens, rest, limit, limit_short, limit_long, online_short, online_long,
  short_tokens, long_jobs, rasp_steal_cooldown_s, starvation_bound_s = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local seen = redis.call('HMGET', job, 'state', 'attempt', 'entry', 'unit', 'cancel', 'cancel_as', 'open')
if seen[1] ~= 'running' or seen[2] ~= attempt or seen[4] ~= unit_name then
  return { 'SUPERSEDED', 'CLAIM' }
end
if outcome == 'cancelled' and seen[5] then
  outcome, reason = seen[6], seen[5]
end

redis.call('HSET', job, 'state', 'finished', 'outcome', outcome, 'status', status, 'reason', reason,
  'prompt_tokens', prompt_tokens, 'completion_tokens', completion_tokens, 'finished_ms', now)
-- The count of bytes changes only together with the body that it counts.
redis.call('DECRBY', bytes, redis.call('HSTRLEN', job, 'body'))
redis.call('HDEL', job, 'body')
redis.call('PEXPIRE', job, ttl_ms)
redis.call('XACK', queue, 'units', seen[3])
redis.call('XDEL', queue, seen[3])
if seen[7] then
  redis.call('ZREM', open_prefix .. seen[7], job_id)
end
if redis.call('ZREM', leases, job_id) == 1 then
  redis.call('HINCRBY', active, class, -1)
  if redis.call('ZCARD', leases) == 0 then
    redis.call('SET', idle_since, now)
  end
end
redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event',
  (outcome == 'cancelled' or outcome == 'expired') and outcome or 'finished', 'job', job_id, 'class', class, 'unit', unit_name,
  'attempt', attempt, 'outcome', outcome, 'at_ms', now)

local batch = { reply, 'NOMKSTREAM', '*' }
for i = 24, #ARGV, 2 do
  if ARGV[i] == 'head' then
    redis.call('HSET', job, 'first_byte_ms', now)
  end
  batch[#batch + 1] = job_id .. ':' .. attempt .. ':' .. ARGV[i]
  batch[#batch + 1] = ARGV[i + 1]
end
local heard = #batch == 3 or redis.call('XADD', unpack(batch))


local function next_step()
  if rest ~= '1' then
    return 'CLAIM'
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

  local waiting, requeued = { short = waiting_short, long = waiting_long }, { short = requeued_short, long = requeued_long }
  local waits = { short = 0, long = 0 }
  if redis.call('EXISTS', waiting_short, waiting_long, requeued_short, requeued_long) > 0 then
    for name in pairs(waits) do
      waits[name] = redis.call('ZCARD', waiting[name]) + redis.call('ZCARD', requeued[name])
    end
  end
  local function oldest(name)
    local since = math.huge
    for _, queue in ipairs({ waiting[name], requeued[name] }) do
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

  -- Of the jobs that wait other units were woken for some: these come for them, and one claim is enough.
  local woken = { short = woken_short, long = woken_long }
  local told = { short = redis.call('ZSCORE', woken_short, unit_name), long = redis.call('ZSCORE', woken_long, unit_name) }
  local function coming(name) return redis.call('ZCARD', woken[name]) - (told[name] and 1 or 0) end
  local has_room = open[mine] and fits(mine)
  if has_room and waits[mine] > 0 and waits[mine] > coming(mine)
    or waits[other] > 0 and waits.short + waits.long > coming('short') + coming('long') and takes_other() then
    return 'CLAIM'
  end
  if not has_room or told.short or told.long or redis.call('HGET', unit, 'draining') == '1' then
    return 'REST'
  end
  -- As in claim: who has room for a job of its role waits for one, by its load.
  local score = held.short / limits.short + held.long / limits.long
  if score == 0 then
    score = (redis.call('GET', idle_since) or now) / 1e13 - 1
  elseif mine == 'long' and held.long > 0 then
    score = score + 10
  end
  redis.call('ZREM', mine == 'short' and hungry_long or hungry_short, unit_name)
  redis.call('ZADD', mine == 'short' and hungry_short or hungry_long, string.format('%.17g', score), unit_name)
  return 'REST'
end
if not heard then
  return { 'GONE', next_step() }
end
return { 'OK', next_step() }
