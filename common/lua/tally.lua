#!lua flags=no-writes,allow-oom
-- tally: what waits, and how many units of each role live and take jobs; changes nothing.
--
-- For those who look all the time: what it costs grows neither with the jobs nor with the units. alive also
-- counts units that drain; models are what was said to be served within alive_ms.
--
-- KEYS:    queue_short queue_long requeued_short requeued_long waiting_short waiting_long virtual_short virtual_long group_short group_long units models pulse policy bytes dead
-- ARGV:    now_ms alive_ms
-- RETURNS: OK now_ms alive bytes dead models overrides short long
--          short and long are: units length pending returned added oldest_ms virtual; pending is -1 where there is no
--          group, oldest_ms when nothing waits
local queue_short, queue_long, requeued_short, requeued_long, waiting_short, waiting_long, virtual_short,
  virtual_long, group_short, group_long, units, models, pulse, policy, bytes, dead = unpack(KEYS)
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

local function said(reply, name)
  for i = 1, #reply, 2 do
    if reply[i] == name then
      return tonumber(reply[i + 1])
    end
  end
end

local function look(queue, requeued, waiting, virtual, group)
  local units_of = redis.call('ZCOUNT', group, judged - alive_ms, '+inf')
  local length, pending, added = redis.call('XLEN', queue), -1, 0
  local groups = redis.pcall('XINFO', 'GROUPS', queue)
  if not groups.err and groups[1] then
    pending = said(groups[1], 'pending')
    added = said(redis.call('XINFO', 'STREAM', queue), 'entries-added') or 0
  end
  local again = redis.call('ZRANGE', requeued, 0, 0, 'WITHSCORES')[2]
  local fresh = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
  local oldest = math.min(tonumber(again) or math.huge, tonumber(fresh) or math.huge)
  return { units_of, length, pending, redis.call('ZCARD', requeued), added, oldest < math.huge and oldest or -1,
    redis.call('GET', virtual) }
end

return { 'OK', now, redis.call('ZCOUNT', units, judged - alive_ms, '+inf'), redis.call('GET', bytes),
  redis.call('XLEN', dead), redis.call('ZRANGEBYSCORE', models, judged - alive_ms, '+inf'),
  redis.call('HGETALL', policy), look(queue_short, requeued_short, waiting_short, virtual_short, group_short),
  look(queue_long, requeued_long, waiting_long, virtual_long, group_long) }
