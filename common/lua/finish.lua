#!lua flags=allow-oom
-- finish: records a job's one outcome, hands over the last parts of its answer and frees its slot.
--
-- Fenced: only the running attempt, on its own unit, may finish. The body is dropped, the rest of the
-- job stays readable for ttl_ms. What was cancelled while it ran ends as its canceller said.
--
-- KEYS:    queue job active leases idle_since bytes reply events open_prefix
-- ARGV:    job_id attempt unit_name class now_ms ttl_ms events_kept outcome status reason prompt_tokens completion_tokens [kind part]...
-- RETURNS: OK | GONE | SUPERSEDED
local queue, job, active, leases, idle_since, bytes, reply, events, open_prefix = unpack(KEYS)
local job_id, attempt, unit_name, class, now_ms, ttl_ms, events_kept, outcome, status, reason,
  prompt_tokens, completion_tokens = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local seen = redis.call('HMGET', job, 'state', 'attempt', 'entry', 'first_byte_ms', 'unit', 'cancel', 'cancel_as',
  'open')
if seen[1] ~= 'running' or seen[2] ~= attempt or seen[5] ~= unit_name then
  return { 'SUPERSEDED' }
end
if outcome == 'cancelled' and seen[6] then
  outcome, reason = seen[7], seen[6]
end

redis.call('HSET', job, 'state', 'finished', 'outcome', outcome, 'status', status, 'reason', reason,
  'prompt_tokens', prompt_tokens, 'completion_tokens', completion_tokens, 'finished_ms', now,
  'first_byte_ms', seen[4] or now)
-- The count of bytes changes only together with the body that it counts.
redis.call('DECRBY', bytes, redis.call('HSTRLEN', job, 'body'))
redis.call('HDEL', job, 'body')
redis.call('PEXPIRE', job, ttl_ms)
redis.call('XACK', queue, 'units', seen[3])
redis.call('XDEL', queue, seen[3])
if seen[8] then
  redis.call('ZREM', open_prefix .. seen[8], job_id)
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
for i = 13, #ARGV, 2 do
  batch[#batch + 1] = job_id .. ':' .. attempt .. ':' .. ARGV[i]
  batch[#batch + 1] = ARGV[i + 1]
end
if #batch > 3 and not redis.call('XADD', unpack(batch)) then
  return { 'GONE' }
end
return { 'OK' }
