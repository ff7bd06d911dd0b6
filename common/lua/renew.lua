#!lua flags=allow-oom
-- renew: extends the leases of the jobs that a unit says it runs, and of no others.
--
-- A job that is named but not running under that attempt is superseded: the caller aborts it. A
-- lease that is not named is left to lapse: its claim's reply was lost.
--
-- KEYS:    leases job_prefix
-- ARGV:    now_ms unit_name lease_ms [job attempt]...
-- RETURNS: OK superseded_job ...
local leases, job_prefix = unpack(KEYS)
local now_ms, unit_name, lease_ms = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local superseded = {}
for i = 4, #ARGV, 2 do
  local seen = redis.call('HMGET', job_prefix .. ARGV[i], 'state', 'attempt', 'unit')
  if seen[1] == 'running' and seen[2] == ARGV[i + 1] and seen[3] == unit_name and redis.call('ZSCORE', leases, ARGV[i]) then
    redis.call('ZADD', leases, now + lease_ms, ARGV[i])
  else
    superseded[#superseded + 1] = ARGV[i]
  end
end
return { 'OK', unpack(superseded) }
