#!lua flags=allow-oom
-- revoke: asks a unit to hand back a long job that has sent no byte, as short jobs need the unit.
--
-- Only the scaler that leads asks, and only a Short unit while a short job waits: there nothing takes the job
-- again at once. A job that was handed back `most` times is left alone. What is asked for is a requeue that
-- does not count as an attempt; the dispatcher, which knows of a first byte before Redis does, has the last word.
--
-- KEYS:    leader job role waiting_short requeued_short events wake
-- ARGV:    now_ms events_kept scaler job_id attempt unit_name most reason
-- RETURNS: OK | NOT_LEADER | SUPERSEDED | BEGUN | SPENT | LONG | UNNEEDED
local leader, job, role, waiting_short, requeued_short, events, wake = unpack(KEYS)
local now_ms, events_kept, scaler, job_id, attempt, unit_name, most, reason = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

if redis.call('GET', leader) ~= scaler then
  return { 'NOT_LEADER' }
end
local seen = redis.call('HMGET', job, 'state', 'attempt', 'unit', 'claimed_ms', 'first_byte_ms', 'revoked')
if seen[1] ~= 'running' or seen[2] ~= attempt or seen[3] ~= unit_name then
  return { 'SUPERSEDED' }
elseif seen[5] and tonumber(seen[5]) >= tonumber(seen[4]) then
  return { 'BEGUN' }
elseif tonumber(seen[6] or 0) >= tonumber(most) then
  return { 'SPENT' }
elseif redis.call('GET', role) ~= 'short' then
  return { 'LONG' }
elseif redis.call('ZCARD', waiting_short) + redis.call('ZCARD', requeued_short) == 0 then
  return { 'UNNEEDED' }
end

redis.call('RPUSH', wake, 'revoke:' .. job_id .. ':' .. attempt)
redis.call('PEXPIRE', wake, 60000)
redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', 'revoked', 'job', job_id, 'class', 'long',
  'unit', unit_name, 'attempt', attempt, 'reason', reason, 'at_ms', now)
return { 'OK' }
