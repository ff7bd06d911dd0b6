#!lua flags=allow-oom
-- relay: appends a batch of answer parts, of any number of jobs, to one gateway's reply stream.
--
-- Each part is fenced: one whose attempt is not the running one, on this unit, is left out, and its
-- job is named in the reply, once. The unit counts too: a Redis that lost its last second counts attempts
-- again from an older number. The stream goes when its gateway has left or was swept as dead: then
-- nothing is kept.
-- The parts of one job in one batch have different kinds, so that a batch reads as a map. A caller
-- that lost the reply sends the batch again with the same number: it is appended once (0: unnumbered).
--
-- KEYS:    reply unit job_prefix
-- ARGV:    now_ms unit_name run number [job attempt kind part]...
-- RETURNS: OK superseded_job ... | GONE superseded_job ...
local reply, unit, job_prefix = unpack(KEYS)
local now_ms, unit_name, run, number = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

if number ~= '0' then
  local last_run, last_number = unpack(redis.call('HMGET', unit, 'relay_run', 'relay_number'))
  if last_run == run and tonumber(number) <= tonumber(last_number) then
    return { 'OK' }
  end
  if redis.call('EXISTS', unit) == 1 then
    -- A unit that has left is not made known again by its last words.
    redis.call('HSET', unit, 'relay_run', run, 'relay_number', number)
  end
end

local superseded = {}
local named = {}
local running = {}
local batch = { reply, 'NOMKSTREAM', '*' }
for i = 5, #ARGV, 4 do
  local id, attempt, kind, part = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local job = job_prefix .. id
  local name = id .. ':' .. attempt
  if running[name] == nil then
    local seen = redis.call('HMGET', job, 'state', 'attempt', 'unit')
    running[name] = seen[1] == 'running' and seen[2] == attempt and seen[3] == unit_name
    if not running[name] and not named[id] then
      named[id] = true
      superseded[#superseded + 1] = id
    end
  end
  if running[name] then
    if kind == 'head' then
      redis.call('HSET', job, 'first_byte_ms', now)
    end
    batch[#batch + 1] = name .. ':' .. kind
    batch[#batch + 1] = part
  end
end
if #batch > 3 and not redis.call('XADD', unpack(batch)) then
  return { 'GONE', unpack(superseded) }
end
return { 'OK', unpack(superseded) }
