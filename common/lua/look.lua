#!lua flags=no-writes,allow-oom
-- look: whether a claim may be of use to a unit that waits for a wake-up; changes nothing.
--
-- A job that has just come has woken somebody. One that has waited for late_ms says that a wake-up was
-- lost, or that nobody may take it. class is whose jobs count: short, long or, empty, both. A unit that is on no
-- list would not be woken at all.
--
-- KEYS:    waiting_short waiting_long requeued_short requeued_long hungry_short hungry_long
-- ARGV:    unit_name now_ms late_ms class
-- RETURNS: CLAIM | REST
local waiting_short, waiting_long, requeued_short, requeued_long, hungry_short, hungry_long = unpack(KEYS)
local unit_name, now_ms, late_ms, class = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

if not (redis.call('ZSCORE', hungry_short, unit_name) or redis.call('ZSCORE', hungry_long, unit_name)) then
  return { 'CLAIM' }
end
local places = { short = { waiting_short, requeued_short }, long = { waiting_long, requeued_long } }
for name, queues in pairs(places) do
  for _, queue in ipairs((class == '' or class == name) and queues or {}) do
    local since = tonumber(redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2])
    if since and now - since >= tonumber(late_ms) then
      return { 'CLAIM' }
    end
  end
end
return { 'REST' }
