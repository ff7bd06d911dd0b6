#!lua flags=no-writes,allow-oom
-- survey: what units prefill now, and which long job comes next; changes nothing.
--
-- A job prefills from its claim to its first byte. jobs counts what is in flight of a class, tokens are
-- those of their prompts. next_tokens are those of the long job that is claimed next, 0 when none waits;
-- revoked: how often a job was handed back for short ones (see revoke).
--
-- KEYS:    queue_long requeued_long due_long job_prefix leases_prefix lane_prefix
-- ARGV:    [unit]...
-- RETURNS: OK next_tokens short_jobs short_tokens job ...
--          job is: unit class tokens claimed_ms stream id attempt revoked
local queue_long, requeued_long, due_long, job_prefix, leases_prefix, lane_prefix = unpack(KEYS)

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

local short_jobs, short_tokens, prefilling = 0, 0, {}
for i = 1, #ARGV, 1 do
  local unit = ARGV[i]
  for _, id in ipairs(redis.call('ZRANGE', leases_prefix .. unit, 0, -1)) do
    local class, tokens, claimed_ms, first_byte_ms, stream, attempt, revoked = unpack(redis.call('HMGET',
      job_prefix .. id, 'class', 'tokens', 'claimed_ms', 'first_byte_ms', 'stream', 'attempt', 'revoked'))
    if class == 'short' then
      short_jobs = short_jobs + 1
      short_tokens = short_tokens + tokens
    end
    -- The first byte of an earlier attempt is none of this one.
    if class and claimed_ms and not (first_byte_ms and tonumber(first_byte_ms) >= tonumber(claimed_ms)) then
      prefilling[#prefilling + 1] = { unit, class, tonumber(tokens), tonumber(claimed_ms), stream, id,
        tonumber(attempt), tonumber(revoked or 0) }
    end
  end
end
return { 'OK', next_long(), short_jobs, short_tokens, unpack(prefilling) }
