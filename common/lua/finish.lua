#!lua flags=allow-oom
-- finish: records a job's one outcome, hands over the last parts of its answer and frees its slot.
--
-- Fenced: only the running attempt, on its own unit, may finish. The body is dropped, the rest of the
-- job stays readable for ttl_ms. What was cancelled while it ran ends as its canceller said.
-- With rest = 1 the unit makes no claim in this turn: a claim that finds nothing costs more than all else
-- here. When nothing waits that nobody was woken for, the unit is put on the list of those that a submit wakes, as
-- by a claim; else it is told to claim.
--
-- KEYS:    queue job active leases idle_since bytes reply events role unit hungry_short hungry_long woken_short woken_long waiting_short waiting_long requeued_short requeued_long policy open_prefix
-- ARGV:    job_id attempt unit_name class now_ms ttl_ms events_kept outcome status reason prompt_tokens completion_tokens rest limit limit_short limit_long online_short online_long [kind part]...
-- RETURNS: OK next | GONE next | SUPERSEDED next
--          next is: CLAIM or, with nothing to claim, REST
local queue, job, active, leases, idle_since, bytes, reply, events, role, unit, hungry_short, hungry_long,
  woken_short, woken_long, waiting_short, waiting_long, requeued_short, requeued_long, policy, open_prefix =
  unpack(KEYS)
local job_id, attempt, unit_name, class, now_ms, ttl_ms, events_kept, outcome, status, reason,
  prompt_tokens, completion_tokens, rest, limit, limit_short, limit_long, online_short, online_long =
  unpack(ARGV)

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
for i = 19, #ARGV, 2 do
  if ARGV[i] == 'head' then
    redis.call('HSET', job, 'first_byte_ms', now)
  end
  batch[#batch + 1] = job_id .. ':' .. attempt .. ':' .. ARGV[i]
  batch[#batch + 1] = ARGV[i + 1]
end
local heard = #batch == 3 or redis.call('XADD', unpack(batch))

-- Whether more jobs wait than other units were woken for: these come for them, and one claim is enough.
local function more_wait(this)
  if redis.call('EXISTS', waiting_short, waiting_long, requeued_short, requeued_long) == 0 then
    return false
  end
  local jobs = 0
  for _, queue in ipairs({ waiting_short, waiting_long, requeued_short, requeued_long }) do
    jobs = jobs + redis.call('ZCARD', queue)
  end
  return jobs > redis.call('ZCARD', woken_short) + redis.call('ZCARD', woken_long) - this
end

-- As in claim: who has room for a job of its role waits for one, by its load.
local function next_step()
  local woken = redis.call('ZSCORE', woken_short, unit_name) or redis.call('ZSCORE', woken_long, unit_name)
  if rest ~= '1' or more_wait(woken and 1 or 0) then
    return 'CLAIM'
  end
  local live = {}
  if redis.call('EXISTS', policy) == 1 then
    live = redis.call('HMGET', policy, 'worker_concurrency_limit', 'worker_concurrency_limit_short',
      'worker_concurrency_limit_long')
  end
  local function limit_of(override, setting)
    local whole = override and string.match(override, '^%d+$')
    return whole and tonumber(whole) > 0 and tonumber(whole) or tonumber(setting)
  end
  local both = limit_of(live[1], limit)
  local limits = { short = limit_of(live[2], limit_short) or both, long = limit_of(live[3], limit_long) or both }
  local function found(limit, online) return math.min(limit, tonumber(online) or math.huge) end
  local slots = { short = found(limits.short, online_short), long = found(limits.long, online_long) }
  local counts = redis.call('HMGET', active, 'short', 'long')
  local held = { short = tonumber(counts[1] or 0), long = tonumber(counts[2] or 0) }
  local has = redis.call('GET', role) or 'short'
  local weight = has == 'short' and slots.long or slots.short
  local room = slots.short * slots.long - held.short * slots.long - held.long * slots.short >= weight
  if not room or woken or redis.call('HGET', unit, 'draining') == '1' then
    return 'REST'
  end
  local score = held.short / limits.short + held.long / limits.long
  if score == 0 then
    score = (redis.call('GET', idle_since) or now) / 1e13 - 1
  elseif has == 'long' and held.long > 0 then
    score = score + 10
  end
  redis.call('ZREM', has == 'short' and hungry_long or hungry_short, unit_name)
  redis.call('ZADD', has == 'short' and hungry_short or hungry_long, string.format('%.17g', score), unit_name)
  return 'REST'
end
if not heard then
  return { 'GONE', next_step() }
end
return { 'OK', next_step() }
