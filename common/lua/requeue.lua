#!lua flags=allow-oom
-- requeue: gives a claimed job back ahead of every newer one, or ends it when it may not run again.
--
-- Fenced by attempt; with lapsed_only = 1 also by the lease, so that any dispatcher may reclaim for
-- another. A spared attempt does not count towards max_attempts: the unit failed it, not the job. A revoked one
-- is spared, and counted as such (see revoke).
-- A job that was cancelled while it ran, or that ran out of attempts, is ended here; its gateway
-- hears of it. The entry stays pending, under the consumer `requeued`, which keeps its place.
--
-- KEYS:    queue requeued job active leases idle_since bytes pulse reply dead events hungry woken hungry_other woken_other units wake_prefix open_prefix
-- ARGV:    job_id attempt unit_name class now_ms alive_ms ttl_ms events_kept dead_kept dead_bodies_kept dead_bodies_bytes max_attempts lapsed_only spared revoked reason
-- RETURNS: OK | DEAD | CANCELLED | EXPIRED | SUPERSEDED | HELD
local queue, requeued, job, active, leases, idle_since, bytes, pulse, reply, dead, events, hungry, woken,
  hungry_other, woken_other, units, wake_prefix, open_prefix = unpack(KEYS)
local job_id, attempt, unit_name, class, now_ms, alive_ms, ttl_ms, events_kept, dead_kept,
  dead_bodies_kept, dead_bodies_bytes, max_attempts, lapsed_only, spared, revoked, reason = unpack(ARGV)

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

local seen = redis.call('HMGET', job, 'state', 'attempt', 'entry', 'submitted_ms', 'spared', 'cancel', 'unit',
  'cancel_as', 'open')
local here = seen[1] == 'running' and seen[7] == unit_name
local running = here and seen[2] == attempt
if here and not running then
  -- The lease is that of a newer attempt on the same unit: it is not the caller's to take.
  return { 'SUPERSEDED' }
end
if lapsed_only == '1' then
  local expires = redis.call('ZSCORE', leases, job_id)
  if not expires or tonumber(expires) > judged then
    return { 'HELD' }
  end
elseif not running then
  return { 'SUPERSEDED' }
end

if redis.call('ZREM', leases, job_id) == 1 then
  if not seen[1] and tonumber(redis.call('HGET', active, class) or 0) < 1 then
    -- The job is forgotten and the caller guessed its class.
    class = class == 'short' and 'long' or 'short'
  end
  redis.call('HINCRBY', active, class, -1)
  if redis.call('ZCARD', leases) == 0 then
    redis.call('SET', idle_since, now)
  end
end
if not running then
  return { 'SUPERSEDED' }
end

local spares = tonumber(seen[5] or 0)
if revoked == '1' then
  redis.call('HINCRBY', job, 'revoked', 1)
end
if spared == '1' or revoked == '1' then
  spares = redis.call('HINCRBY', job, 'spared', 1)
end
local outcome
if seen[6] then
  outcome, reason = seen[8], seen[6]
elseif tonumber(attempt) - spares >= tonumber(max_attempts) then
  outcome = 'dead'
end
local function note(event)
  redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', event, 'job', job_id, 'class', class,
    'unit', unit_name, 'attempt', attempt, 'reason', reason, 'at_ms', now)
end
if outcome then
  if seen[9] then
    redis.call('ZREM', open_prefix .. seen[9], job_id)
  end
  redis.call('XACK', queue, 'units', seen[3])
  redis.call('XDEL', queue, seen[3])
  redis.call('HSET', job, 'state', 'finished', 'outcome', outcome, 'reason', reason, 'finished_ms', now)
  -- The count of bytes is of unfinished jobs: it changes with the body, or with the job's end.
  redis.call('DECRBY', bytes, redis.call('HSTRLEN', job, 'body'))
  redis.call('PEXPIRE', job, ttl_ms)
  redis.call('XADD', reply, 'NOMKSTREAM', '*', job_id .. ':' .. attempt .. ':end',
    cjson.encode({ outcome = outcome, reason = reason }))
  if outcome == 'dead' then
    redis.call('XADD', dead, 'MAXLEN', '~', dead_kept, '*', 'job', job_id, 'class', class, 'unit', unit_name,
      'attempt', attempt, 'reason', reason, 'at_ms', now)
    -- The newest dead jobs keep their bodies, as far as these fit, for who wants to run one again.
    local prefix, room = string.sub(job, 1, #job - #job_id), tonumber(dead_bodies_bytes)
    local newest = redis.call('XREVRANGE', dead, '+', '-', 'COUNT', dead_bodies_kept + 1)
    for place, entry in ipairs(newest) do
      local other = prefix .. entry[2][2]
      room = room - redis.call('HSTRLEN', other, 'body')
      if place > tonumber(dead_bodies_kept) or room < 0 then
        redis.call('HDEL', other, 'body')
      end
    end
  else
    redis.call('HDEL', job, 'body')
  end
  note(outcome)
  return { string.upper(outcome) }
end

redis.call('HSET', job, 'state', 'queued', 'reason', reason, 'queued_ms', now)
redis.call('XCLAIM', queue, 'units', 'requeued', 0, seen[3], 'JUSTID')
redis.call('ZADD', requeued, seen[4], job_id)
note(lapsed_only == '1' and 'reclaimed' or 'requeued')
-- As in submit. The unit that gave the job back waits for no other until it claims again.
redis.call('ZREM', hungry, unit_name)
redis.call('ZREM', hungry_other, unit_name)
local function wake(from, to, below)
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
-- Of the Long units those with a score below 10 may borrow (see claim); a Short one must be idle.
if not wake(hungry, woken, math.huge) then
  wake(hungry_other, woken_other, class == 'short' and 10 or 0)
end
return { 'OK' }
