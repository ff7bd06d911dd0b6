#!lua flags=allow-oom
-- adjust: notes what the scaler that leads allows steals to be; dispatchers bound their claims by it.
--
-- KEYS:    leader stealing
-- ARGV:    scaler idle_ms tokens
-- RETURNS: OK | NOT_LEADER
local leader, stealing = unpack(KEYS)
local scaler, idle_ms, tokens = unpack(ARGV)

if redis.call('GET', leader) ~= scaler then
  return { 'NOT_LEADER' }
end
redis.call('HSET', stealing, 'idle_ms', idle_ms, 'tokens', tokens)
return { 'OK' }
