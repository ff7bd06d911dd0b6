#!lua flags=allow-oom
-- cancel: removes a job that waits; asks the unit that runs it to abort it.
--
-- A waiting job is ended here and now. A running one keeps its slot until its unit has aborted it:
-- its dispatcher then finishes it. outcome is cancelled or expired; of several calls the first counts.
--
-- KEYS:    queue requeued waiting due spent virtual job bytes reply events lane_prefix wake_prefix open_prefix
-- ARGV:    job_id now_ms ttl_ms events_kept outcome reason
-- RETURNS: OK | ASKED unit | FINISHED outcome | UNKNOWN
local queue, requeued, waiting, due, spent, virtual, job, bytes, reply, events, lane_prefix, wake_prefix,
  open_prefix = unpack(KEYS)
local job_id, now_ms, ttl_ms, events_kept, outcome, reason = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local seen = redis.call('HMGET', job, 'state', 'entry', 'unit', 'outcome', 'class', 'attempt',
  'owner', 'priority', 'open')
if not seen[1] then
  return { 'UNKNOWN' }
end
if seen[1] == 'finished' then
  return { 'FINISHED', seen[4] }
end
if seen[1] == 'running' then
  if redis.call('HSETNX', job, 'cancel', reason) == 1 then
    redis.call('HSET', job, 'cancel_as', outcome)
  end
  redis.call('RPUSH', wake_prefix .. seen[3], 'cancel:' .. job_id .. ':' .. seen[6])
  redis.call('PEXPIRE', wake_prefix .. seen[3], 60000)
  return { 'ASKED', seen[3] }
end

if redis.call('ZREM', requeued, job_id) == 0 then
  -- As in claim: the place goes, and its owner's turn is that of the next in its lane.
  local STEP = 1000000
  local owner, lane = seen[7] or '', lane_prefix .. seen[5] .. ':' .. (seen[7] or '')
  local ms, sequence = string.match(seen[2], '^(%d+)%-(%d+)$')
  local place = string.format('%s-%010d', ms, sequence) .. (seen[8] and ':' .. seen[8] or '')
  local first = redis.call('ZRANGE', lane, 0, 0)[1]
  redis.call('ZREM', waiting, place)
  redis.call('ZREM', lane, place)
  local turn = first == place and redis.call('ZSCORE', due, owner)
  if turn then
    local time = tonumber(redis.call('GET', virtual) or 0)
    local used = turn - (seen[8] or 0) * STEP
    local head = redis.call('ZRANGE', lane, 0, 0)[1]
    if head then
      local priority = tonumber(string.match(head, ':(%-?%d+)$') or 0)
      redis.call('ZADD', due, math.max(used + priority * STEP, time + math.min(priority, 0) * STEP), owner)
    else
      redis.call('ZREM', due, owner)
      if redis.call('EXISTS', due) == 0 then
        redis.call('DEL', spent, virtual)
      elseif used > time then
        redis.call('ZADD', spent, used, owner)
      end
    end
  end
end
if seen[9] then
  redis.call('ZREM', open_prefix .. seen[9], job_id)
end
redis.call('XACK', queue, 'units', seen[2])
redis.call('XDEL', queue, seen[2])
redis.call('HSET', job, 'state', 'finished', 'outcome', outcome, 'reason', reason, 'finished_ms', now)
-- The count of bytes changes only together with the body that it counts.
redis.call('DECRBY', bytes, redis.call('HSTRLEN', job, 'body'))
redis.call('HDEL', job, 'body')
redis.call('PEXPIRE', job, ttl_ms)
redis.call('XADD', reply, 'NOMKSTREAM', '*', job_id .. ':' .. seen[6] .. ':end',
  cjson.encode({ outcome = outcome, reason = reason }))
redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', outcome, 'job', job_id,
  'class', seen[5], 'reason', reason, 'at_ms', now)
return { 'OK' }
