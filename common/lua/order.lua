#!lua flags=allow-oom
-- order: gives a place to entries of a class that have none, a page of them with each call.
--
-- Such are those of a submit of an older version, and all of a group that was made anew: there what
-- runs or waits again is also made pending again, under who has it. Goes on where the group's last
-- delivered id says that the last page ended; nothing else reads it.
--
-- KEYS:    queue requeued waiting due spent virtual job_prefix lane_prefix
-- ARGV:    class page priority_step_ms
-- RETURNS: OK entries_read | NOGROUP
local queue, requeued, waiting, due, spent, virtual, job_prefix, lane_prefix = unpack(KEYS)
local class, page, priority_step_ms = unpack(ARGV)

local groups = redis.pcall('XINFO', 'GROUPS', queue)
if groups.err or not groups[1] then
  return { 'NOGROUP' }
end
local last
for i = 1, #groups[1], 2 do
  last = groups[1][i] == 'last-delivered-id' and groups[1][i + 1] or last
end

local STEP = 1000000
local function priority_of(place)
  return tonumber(string.match(place, ':(%-?%d+)$') or 0)
end

-- As in submit; an owner that has a turn keeps it, but for the priority of its new first job.
local function enter(entry, owner, priority, submitted_ms, later_ms)
  local lane = lane_prefix .. class .. ':' .. owner
  local ms, sequence = string.match(entry, '^(%d+)%-(%d+)$')
  local place = string.format('%s-%010d', ms, sequence) .. (priority ~= 0 and ':' .. priority or '')
  if redis.call('ZADD', waiting, 'NX', submitted_ms, place) == 0 then
    return
  end
  redis.call('ZADD', lane, submitted_ms + priority * priority_step_ms + later_ms, place)
  local first, second = unpack(redis.call('ZRANGE', lane, 0, 1))
  if first ~= place then
    return
  end
  local turn = redis.call('ZSCORE', due, owner)
  if second and turn then
    local time = tonumber(redis.call('GET', virtual) or 0)
    turn = math.max(turn + (priority - priority_of(second)) * STEP, time + math.min(priority, 0) * STEP)
  else
    local time = redis.call('INCR', virtual)
    turn = math.max(tonumber(redis.call('ZSCORE', spent, owner) or 0), time) + priority * STEP
    redis.call('ZREM', spent, owner)
  end
  redis.call('ZADD', due, turn, owner)
end

local entries = redis.call('XRANGE', queue, '(' .. last, '+', 'COUNT', page)
for _, item in ipairs(entries) do
  local entry, id = item[1], item[2][2]
  local seen = redis.call('HMGET', job_prefix .. id, 'state', 'entry', 'unit', 'owner', 'priority', 'submitted_ms',
    'later_ms')
  last = entry
  if seen[2] ~= entry or seen[1] ~= 'queued' and seen[1] ~= 'running' then
    redis.call('XACK', queue, 'units', entry)
    redis.call('XDEL', queue, entry)
  elseif seen[1] == 'running' then
    redis.call('XCLAIM', queue, 'units', seen[3], 0, entry, 'FORCE', 'JUSTID')
  elseif redis.call('ZSCORE', requeued, id) then
    redis.call('XCLAIM', queue, 'units', 'requeued', 0, entry, 'FORCE', 'JUSTID')
  else
    enter(entry, seen[4] or '', tonumber(seen[5] or 0), seen[6], tonumber(seen[7] or 0))
  end
end
if #entries > 0 then
  redis.call('XGROUP', 'SETID', queue, 'units', last)
end
return { 'OK', #entries }
