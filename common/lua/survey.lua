#!lua flags=no-writes,allow-oom
-- survey: what these units hold and prefill now, and which long job comes next; changes nothing.
--
-- A job prefills from its claim to its first byte. short_tokens are those of the prompts of the short jobs that a
-- unit holds. next_tokens are those of the long job that is claimed next, 0 when none waits; revoked: how often a
-- job was handed back for short ones (see revoke). Units that nobody knows are left out.
--
-- KEYS:    queue_long requeued_long due_long units pulse job_prefix leases_prefix lane_prefix role_prefix active_prefix unit_prefix
-- ARGV:    now_ms alive_ms [unit]...
-- RETURNS: OK next_tokens unit ...
--          unit is: name role alive draining short long pace limits short_tokens job ...
--          limits are: limit limit_short limit_long online_short online_long
--          job is: class tokens claimed_ms stream id attempt revoked
local queue_long, requeued_long, due_long, units, pulse, job_prefix, leases_prefix, lane_prefix, role_prefix,
  active_prefix, unit_prefix = unpack(KEYS)
local now_ms, alive_ms = unpack(ARGV)

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

local function next_long()
  local id = redis.call('ZRANGE', requeued_long, 0, 0)[1]
  if not id then
    local owner = redis.call('ZRANGE', due_long, 0, 0)[1]
    local place = owner and redis.call('ZRANGE', lane_prefix .. 'long:' .. owner, 0, 0)[1]
    if not place then
      return 0
    end
    local ms, sequence = string.match(place, '^(%d+)%-0*(%d+)')
    local entry = ms .. '-' .. sequence
    local found = redis.call('XRANGE', queue_long, entry, entry)[1]
    id = found and found[2][2]
  end
  return tonumber(id and redis.call('HGET', job_prefix .. id, 'tokens') or 0)
end

local function look(name, beat_ms)
  local counts = redis.call('HMGET', active_prefix .. name, 'short', 'long')
  local draining, pace, limit, limit_short, limit_long, online_short, online_long = unpack(redis.call('HMGET',
    unit_prefix .. name, 'draining', 'pace', 'limit', 'limit_short', 'limit_long', 'online_short', 'online_long'))
  local short_tokens, jobs = 0, {}
  for _, id in ipairs(redis.call('ZRANGE', leases_prefix .. name, 0, -1)) do
    local class, tokens, claimed_ms, first_byte_ms, stream, attempt, revoked = unpack(redis.call('HMGET',
      job_prefix .. id, 'class', 'tokens', 'claimed_ms', 'first_byte_ms', 'stream', 'attempt', 'revoked'))
    if class == 'short' then
      short_tokens = short_tokens + tokens
    end
    -- The first byte of an earlier attempt is none of this one.
    if class and claimed_ms and not (first_byte_ms and tonumber(first_byte_ms) >= tonumber(claimed_ms)) then
      jobs[#jobs + 1] = { class, tonumber(tokens), tonumber(claimed_ms), stream, id, tonumber(attempt),
        tonumber(revoked or 0) }
    end
  end
  return { name, redis.call('GET', role_prefix .. name) or 'short', beat_ms >= judged - alive_ms and 1 or 0,
    draining == '1' and 1 or 0, tonumber(counts[1] or 0), tonumber(counts[2] or 0), pace or '', limit or '',
    limit_short or '', limit_long or '', online_short or '', online_long or '', short_tokens, unpack(jobs) }
end

local seen = {}
for i = 3, #ARGV, 1 do
  local beat_ms = redis.call('ZSCORE', units, ARGV[i])
  if beat_ms then
    seen[#seen + 1] = look(ARGV[i], tonumber(beat_ms))
  end
end
return { 'OK', next_long(), unpack(seen) }
