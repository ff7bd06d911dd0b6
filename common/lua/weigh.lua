#!lua flags=allow-oom
-- weigh: charges a long job that a Short unit took with what short jobs lost to it since the last look.
--
-- Its dispatcher looks from the steal on, and for the last time (over = 1) when the prefill is over: at the
-- first byte, or at the end of the attempt. Meanwhile a short job loses the time that it waits for this prefill:
-- on the unit (behind: so many were claimed after the steal and have sent no byte), or in the queue. Of those in the
-- queue each steal that is looked at answers for an equal part, and for no more than its unit has room for.
-- A steal that nobody has looked at for a while does not count: its dispatcher is gone. A look that is
-- repeated charges nothing. regret_from is what earlier steals of the same job were charged with.
--
-- KEYS:    job steals stealing waiting_short requeued_short events
-- ARGV:    now_ms events_kept job_id attempt unit_name behind room over
-- RETURNS: OK regret_ms | SUPERSEDED
local job, steals, stealing, waiting_short, requeued_short, events = unpack(KEYS)
local now_ms, events_kept, job_id, attempt, unit_name, behind, room, over = unpack(ARGV)

local SILENT_MS = 5000

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local member = job_id .. ':' .. attempt
local seen = redis.call('HMGET', job, 'attempt', 'unit', 'claimed_ms', 'regret_ms', 'regret_from')
if seen[1] ~= attempt or seen[2] ~= unit_name then
  redis.call('ZREM', steals, member)
  return { 'SUPERSEDED' }
end

local regret, from = tonumber(seen[4] or 0), tonumber(seen[5] or 0)
redis.call('ZREMRANGEBYSCORE', steals, '-inf', now - SILENT_MS)
local last = tonumber(redis.call('ZSCORE', steals, member))
if last then
  local waiting = redis.call('ZCARD', waiting_short) + redis.call('ZCARD', requeued_short)
  local part = math.min(waiting / redis.call('ZCARD', steals), tonumber(room))
  regret = regret + math.max(0, math.floor((part + behind) * (now - last) + 0.5))
  redis.call('HSET', job, 'regret_ms', regret)
elseif over == '0' then
  from = regret
  redis.call('HSET', job, 'regret_ms', regret, 'regret_from', from)
end
if over == '0' then
  redis.call('ZADD', steals, now, member)
  redis.call('PEXPIRE', steals, 2 * SILENT_MS)
elseif last then
  redis.call('ZREM', steals, member)
  local prefill = now - seen[3]
  redis.call('HINCRBY', stealing, 'steals', 1)
  redis.call('HINCRBY', stealing, 'regret_ms', regret - from)
  redis.call('HINCRBY', stealing, 'prefill_ms', prefill)
  redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', 'weighed', 'job', job_id, 'class', 'long',
    'unit', unit_name, 'attempt', attempt, 'regret_ms', regret - from, 'prefill_ms', prefill, 'at_ms', now)
end
return { 'OK', regret - from }
