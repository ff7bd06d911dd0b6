#!lua
-- submit: puts a job in its class's queue, once, and wakes one unit that can take it.
--
-- A second call with the same job id changes nothing, so a caller that lost the reply may ask again.
-- A gateway that is not known to live is asked to say so first: its job would be cancelled. The only
-- script that a full Redis refuses: what was accepted can still be ended.
-- How many units are woken does not grow with how many there are. A unit of the class's own role
-- comes first; else one of the other role that may take it, as far as it is known here: its claim
-- decides.
-- A limit that is not empty bounds its owner: jobs that have not ended, and requests and prompt tokens in the
-- last 60 s, counted by whole seconds, so that no window of 60 s ever has more. What is refused counts
-- nowhere, and neither does a job that is submitted again because Redis had lost it (again = 1).
-- The entry also gets a place in its owner's lane, by time and priority, and an owner that had none waiting
-- its turn: not before now in virtual time, and not before it has made good what it used (see claim).
--
-- KEYS:    queue queue_other requeued waiting lane due spent virtual rate open job bytes gateways pulse hungry woken hungry_other woken_other units policy events wake_prefix
-- ARGV:    job_id class gateway now_ms alive_ms timeout_ms ttl_ms max_queue_depth max_queue_bytes events_kept tokens owner weight priority priority_step_ms max_jobs max_requests max_tokens again later_ms body [field value]...
-- RETURNS: OK entry budget | EXISTS state budget | FULL what depth budget | LIMITED what wait_ms budget | NOGROUP | NOGATEWAY
--          what is: depth or bytes; jobs, requests or tokens; wait_ms is -1 when it never fits
--          budget is: requests_left requests_reset_ms tokens_left tokens_reset_ms, 0 where there is no limit
local queue, queue_other, requeued, waiting, lane, due, spent, virtual, rate, open, job, bytes, gateways, pulse,
  hungry, woken, hungry_other, woken_other, units, policy, events, wake_prefix = unpack(KEYS)
local job_id, class, gateway, now_ms, alive_ms, timeout_ms, ttl_ms, max_queue_depth, max_queue_bytes,
  events_kept, tokens, owner, weight, priority, priority_step_ms,
  max_jobs, max_requests, max_tokens, again, later_ms, body = unpack(ARGV)

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

-- By second: requests and tokens of the owner. A second counts until no request in it is younger than 60 s.
local limits = { tonumber(max_requests) or math.huge, tonumber(max_tokens) or math.huge }
local second, seconds, counted, used = math.floor(now / 1000), {}, {}, { 0, 0 }
local limited = max_requests .. max_tokens ~= ''
local kept = limited and redis.call('HGETALL', rate) or {}
for i = 1, #kept, 2 do
  local at = tonumber(kept[i])
  if at < second - 60 then
    redis.call('HDEL', rate, kept[i])
  else
    local requests, of_tokens = string.match(kept[i + 1], '^(%d+) (%d+)$')
    counted[at] = { tonumber(requests), tonumber(of_tokens) }
    used[1], used[2] = used[1] + requests, used[2] + of_tokens
    seconds[#seconds + 1] = at
  end
end
table.sort(seconds)
local function free_ms(at)
  return at and math.max(0, (at + 61) * 1000 - now) or 0
end
local function budget()
  local reset = free_ms(seconds[#seconds])
  return math.max(0, (tonumber(max_requests) or 0) - used[1]), reset,
    math.max(0, (tonumber(max_tokens) or 0) - used[2]), reset
end
local function count(requests, of_tokens)
  if not counted[second] then
    counted[second] = { 0, 0 }
    seconds[#seconds + 1] = second
  end
  counted[second][1], counted[second][2] = counted[second][1] + requests, counted[second][2] + of_tokens
  used[1], used[2] = used[1] + requests, used[2] + of_tokens
  redis.call('HSET', rate, second, string.format('%.0f %.0f', unpack(counted[second])))
  redis.call('PEXPIRE', rate, 61000)
end

local state = redis.call('HGET', job, 'state')
if state then
  return { 'EXISTS', state, budget() }
end
if not redis.call('ZSCORE', gateways, gateway) then
  return { 'NOGATEWAY' }
end
local depth = redis.call('XLEN', queue)
if depth > 0 then
  local groups = redis.pcall('XINFO', 'GROUPS', queue)
  if groups.err or not groups[1] then
    return { 'NOGROUP' }
  end
  for i = 1, #groups[1], 2 do
    if groups[1][i] == 'pending' then
      depth = depth - groups[1][i + 1] + redis.call('ZCARD', requeued)
    end
  end
end
if max_jobs ~= '' then
  -- Past its deadline a job is over, whoever still has to say so.
  redis.call('ZREMRANGEBYSCORE', open, '-inf', now)
  if again == '0' and redis.call('ZCARD', open) >= tonumber(max_jobs) then
    return { 'LIMITED', 'jobs', 1000, budget() }
  end
end
for which, need in ipairs(again == '0' and { 1, tonumber(tokens) } or {}) do
  local left = limits[which] - used[which]
  if need > left then
    local wait_ms = need > limits[which] and -1 or 0
    for i = 1, need > limits[which] and 0 or #seconds do
      left = left + counted[seconds[i]][which]
      wait_ms = free_ms(seconds[i])
      if need <= left then
        break
      end
    end
    return { 'LIMITED', which == 1 and 'requests' or 'tokens', wait_ms, budget() }
  end
end
local function limit(name, setting)
  local override = redis.call('HGET', policy, name)
  local whole = override and tonumber(string.match(override, '^%d+$') or 0) or 0
  return whole > 0 and whole or tonumber(setting)
end
if depth >= limit('max_queue_depth_' .. class, max_queue_depth) then
  return { 'FULL', 'depth', depth, budget() }
end
local held_bytes = tonumber(redis.call('GET', bytes) or 0)
if held_bytes > 0 and redis.call('XLEN', queue) + redis.call('XLEN', queue_other) == 0 then
  -- No job is left: what a body that expired by itself has left in the count goes with it.
  redis.call('DEL', bytes)
  held_bytes = 0
end
if held_bytes + #body > limit('max_queue_bytes', max_queue_bytes) then
  return { 'FULL', 'bytes', depth, budget() }
end

local entry = redis.call('XADD', queue, '*', 'job', job_id, 'tokens', tokens, 'submitted_ms', now)
redis.call('HSET', job, 'state', 'queued', 'class', class, 'attempt', 0, 'entry', entry,
  'tokens', tokens, 'submitted_ms', now, 'deadline_ms', now + timeout_ms, 'gateway', gateway,
  'body', body)
redis.call('INCRBY', bytes, #body)
redis.call('ZADD', gateways, now, gateway)
for i = 22, #ARGV, 2 do
  redis.call('HSET', job, ARGV[i], ARGV[i + 1])
end
if limited and again == '0' then
  count(1, tonumber(tokens))
end
if max_jobs ~= '' then
  redis.call('HSET', job, 'open', owner)
  redis.call('ZADD', open, now + timeout_ms, job_id)
  if redis.call('PTTL', open) < timeout_ms + 60000 then
    redis.call('PEXPIRE', open, timeout_ms + 60000)
  end
end
-- What is as usual is not written: a million jobs may wait.
if owner ~= '' then
  redis.call('HSET', job, 'owner', owner)
end
if weight ~= '1' then
  redis.call('HSET', job, 'weight', weight)
end
if priority ~= '0' then
  redis.call('HSET', job, 'priority', priority)
end
if later_ms ~= '0' then
  redis.call('HSET', job, 'later_ms', later_ms)
end
redis.call('PEXPIRE', job, timeout_ms + ttl_ms)
redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', 'submitted', 'job', job_id,
  'class', class, 'tokens', tokens, 'depth', depth, 'at_ms', now)

local STEP = 1000000
local function priority_of(place)
  return tonumber(string.match(place, ':(%-?%d+)$') or 0)
end
local ms, sequence = string.match(entry, '^(%d+)%-(%d+)$')
local place = string.format('%s-%010d', ms, sequence) .. (priority ~= '0' and ':' .. priority or '')
redis.call('ZADD', waiting, now, place)
redis.call('ZADD', lane, now + priority * priority_step_ms + later_ms, place)
local first, second = unpack(redis.call('ZRANGE', lane, 0, 1))
if first == place then
  local turn = redis.call('ZSCORE', due, owner)
  if second and turn then
    local time = tonumber(redis.call('GET', virtual) or 0)
    turn = math.max(turn + (priority - priority_of(second)) * STEP, time + math.min(priority, 0) * STEP)
  else
    -- One more for each newcomer: of several, the first comes first.
    local time = redis.call('INCR', virtual)
    turn = math.max(tonumber(redis.call('ZSCORE', spent, owner) or 0), time) + priority * STEP
    redis.call('ZREM', spent, owner)
  end
  redis.call('ZADD', due, turn, owner)
end

-- Eight tries bound the loop: each failed one removes a unit that no longer lives.
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
return { 'OK', entry, budget() }
