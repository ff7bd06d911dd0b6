#!lua flags=allow-oom
-- register: says that a unit can claim now, and puts right what a claim of it relies on.
--
-- Called on every heartbeat. It is idempotent: after Redis lost its memory, the next call makes the
-- unit, its role and the groups anew. A group starts at 0, so that it sees what came before it.
-- An online limit that has fallen since the last heartbeat is an event.
--
-- KEYS:    queue_short queue_long role active leases idle_since units unit pulse events
-- ARGV:    unit_name now_ms alive_ms events_kept [field value]...
-- RETURNS: OK role groups_made
local queue_short, queue_long, role, active, leases, idle_since, units, unit, pulse, events =
  unpack(KEYS)
local unit_name, now_ms, alive_ms, events_kept = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- After a silence of everybody it was Redis that was away: for alive_ms nobody is judged by it.
local beat, grace = unpack(redis.call('HMGET', pulse, 'beat_ms', 'grace_ms'))
if beat and now - beat > alive_ms / 2 then
  if not (grace and tonumber(beat) < tonumber(grace)) then
    redis.call('HSET', pulse, 'spoke_ms', beat)
  end
  redis.call('HSET', pulse, 'grace_ms', now + alive_ms)
end
redis.call('HSET', pulse, 'beat_ms', now)

local groups_made = 0
for _, queue in ipairs({ queue_short, queue_long }) do
  if not redis.pcall('XGROUP', 'CREATE', queue, 'units', '0', 'MKSTREAM').err then
    groups_made = groups_made + 1
  end
end
redis.call('SET', role, 'short', 'NX')
redis.call('ZADD', units, now, unit_name)
for i = 5, #ARGV, 2 do
  local class = string.match(ARGV[i], '^online_(%a+)$')
  local before = class and redis.call('HGET', unit, ARGV[i])
  if before and tonumber(ARGV[i + 1]) and tonumber(ARGV[i + 1]) < (tonumber(before) or 0) then
    redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', 'lowered', 'unit', unit_name,
      'class', class, 'from', before, 'to', ARGV[i + 1], 'at_ms', now)
  end
  redis.call('HSET', unit, ARGV[i], ARGV[i + 1])
end
redis.call('HSETNX', unit, 'started_ms', now)
if redis.call('ZCARD', leases) == 0 then
  redis.call('DEL', active)
  redis.call('SET', idle_since, now, 'NX')
end
return { 'OK', redis.call('GET', role), groups_made }
