#!lua flags=allow-oom
-- register: says that a unit can claim now, and puts right what a claim of it relies on.
--
-- Called on every heartbeat. It is idempotent: after Redis lost its memory, the next call makes the
-- unit, its role and the groups anew. A group starts at 0, so that it sees what came before it.
-- An online limit that has fallen since the last heartbeat is an event. group_short and group_long say who
-- takes jobs in each role: what they say is put right here as well. A unit that comes after an hour or more also
-- clears entries whose jobs are forgotten: where nobody was left to end them, their records went by themselves.
--
-- KEYS:    queue_short queue_long role active leases idle_since units unit pulse events group_short group_long models unit_prefix job_prefix
-- ARGV:    unit_name now_ms alive_ms events_kept [field value]...
-- RETURNS: OK role groups_made
local queue_short, queue_long, role, active, leases, idle_since, units, unit, pulse, events, group_short,
  group_long, models, unit_prefix, job_prefix = unpack(KEYS)
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
if tonumber(redis.call('ZSCORE', units, unit_name) or 0) < now - 3600000 then
  for _, queue in ipairs({ queue_short, queue_long }) do
    -- The oldest are enough: what was claimed since is known.
    for _, held in ipairs(redis.call('XPENDING', queue, 'units', '-', '+', 256)) do
      local found = redis.call('XRANGE', queue, held[1], held[1])[1]
      if found and redis.call('EXISTS', job_prefix .. found[2][2]) == 0 then
        redis.call('XACK', queue, 'units', held[1])
        redis.call('XDEL', queue, held[1])
      end
    end
  end
end
redis.call('ZADD', units, now, unit_name)
for i = 5, #ARGV, 2 do
  local class = string.match(ARGV[i], '^online_(%a+)$')
  local before = class and redis.call('HGET', unit, ARGV[i])
  if before and tonumber(ARGV[i + 1]) and tonumber(ARGV[i + 1]) < (tonumber(before) or 0) then
    redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', 'lowered', 'unit', unit_name,
      'class', class, 'from', before, 'to', ARGV[i + 1], 'at_ms', now)
  end
  for model in string.gmatch(ARGV[i] == 'models' and ARGV[i + 1] or '', '[^\n]+') do
    redis.call('ZADD', models, now, model)
  end
end
local served = redis.call('HGET', unit, 'models')
if #ARGV > 4 then
  redis.call('HSET', unit, unpack(ARGV, 5))
end
if served and served ~= redis.call('HGET', unit, 'models') then
  -- What it served before stays while another unit serves it.
  for model in string.gmatch(served, '[^\n]+') do
    local kept = false
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', units, now - alive_ms, '+inf')) do
      local theirs = '\n' .. (redis.call('HGET', unit_prefix .. name, 'models') or '') .. '\n'
      if string.find(theirs, '\n' .. model .. '\n', 1, true) then
        kept = true
        break
      end
    end
    if not kept then
      redis.call('ZREM', models, model)
    end
  end
end
if redis.call('HSETNX', unit, 'started_ms', now) == 1 then
  -- What nobody has served for an hour is forgotten, as a unit is.
  redis.call('ZREMRANGEBYSCORE', models, '-inf', now - 3600000)
end
if redis.call('ZCARD', leases) == 0 then
  redis.call('DEL', active)
  redis.call('SET', idle_since, now, 'NX')
end
local has = redis.call('GET', role)
local mine, others = group_short, group_long
if has == 'long' then
  mine, others = group_long, group_short
end
redis.call('ZREM', others, unit_name)
if redis.call('HGET', unit, 'draining') == '1' then
  redis.call('ZREM', mine, unit_name)
else
  redis.call('ZADD', mine, now, unit_name)
end
return { 'OK', has, groups_made }
