#!lua flags=allow-oom
-- claim: takes up to a unit's free slots, each job for one attempt, or says when to ask again.
--
-- Order: a job of the other class that has starved; requeued jobs, then new ones, of the unit's own
-- class; what RASP lets it have of the other class. Among new ones that owner goes first whose turn is the
-- earliest in virtual time (start-time fair queuing; docs/fairness.md), and within an owner the lane
-- decides. An entry is made pending by XCLAIM with FORCE, as a group itself hands out in the stream's order
-- alone. Slots are a weighted semaphore: with limits S and L a short job weighs L, a long one S, and the
-- unit holds S * L. Of a burst a unit takes only what keeps it level with the other units that wait, and wakes
-- the next of them. A job past its deadline, or whose gateway is gone, is ended here and never handed out.
-- policy holds live overrides of the settings of the same names; limit_short and limit_long are empty when
-- limit counts for them; online_… are lower limits that the unit found. Bounds, none where empty: most jobs in all;
-- short ones until they have short_tokens; long_jobs; no steal of more than steal_tokens; one claim in oldest_every
-- begins with the oldest job of its class while that has starved.
--
-- KEYS:    queue_short queue_long requeued_short requeued_long waiting_short waiting_long due_short due_long spent_short spent_long virtual_short virtual_long role active leases idle_since hungry_short hungry_long woken_short woken_long units unit gateways pulse bytes policy events job_prefix lane_prefix reply_prefix wake_prefix open_prefix
-- ARGV:    unit_name now_ms alive_ms lease_ms ttl_ms events_kept most limit limit_short limit_long online_short online_long rasp_steal rasp_steal_cooldown_s rasp_long_takes_short starvation_bound_s short_tokens long_jobs steal_tokens oldest_every
-- RETURNS: OK role wait_ms job ... | DRAINING | NOGROUP | UNORDERED
--          job is: id class attempt why submitted_ms now_ms deadline_ms gateway route stream body
--          queued_ms traceparent tokens; queued_ms is when it was submitted or last requeued
--          why is: own, requeued, stolen, borrowed or starved; wait_ms is -1 when a wake-up will come, -2 when the unit is full
local queue_short, queue_long, requeued_short, requeued_long, waiting_short, waiting_long, due_short, due_long,
  spent_short, spent_long, virtual_short, virtual_long, role, active, leases, idle_since, hungry_short,
  hungry_long, woken_short, woken_long, units, unit, gateways, pulse, bytes, policy, events, job_prefix,
  lane_prefix, reply_prefix, wake_prefix, open_prefix = unpack(KEYS)
local unit_name, now_ms, alive_ms, lease_ms, ttl_ms, events_kept, most, limit, limit_short, limit_long,
  online_short, online_long, rasp_steal, rasp_steal_cooldown_s, rasp_long_takes_short, starvation_bound_s,
  short_tokens, long_jobs, steal_tokens, oldest_every = unpack(ARGV)

local now = tonumber(now_ms)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Up to here silence counts: while Redis was away nobody could speak (see beat).
local beat, grace, spoke = unpack(redis.call('HMGET', pulse, 'beat_ms', 'grace_ms', 'spoke_ms'))
local judged = beat and now - beat > alive_ms / 2 and tonumber(beat) or now
judged = grace and judged < tonumber(grace) and tonumber(spoke) or judged

-- Added to the load of a hungry Long unit that holds long jobs: it may not borrow, no short job wakes it.
local HOLDS_LONG = 10
-- In virtual time: what a job of an owner of weight 1 costs, and what a step of priority is worth.
local COST, STEP = 100000, 1000000
-- Of larger bodies a claim brings one and asks again: each is copied here twice before it leaves.
local LARGE_BYTES = 65536

local queues, requeued = { short = queue_short, long = queue_long }, { short = requeued_short, long = requeued_long }
local waiting, due = { short = waiting_short, long = waiting_long }, { short = due_short, long = due_long }
local spent, virtual = { short = spent_short, long = spent_long }, { short = virtual_short, long = virtual_long }
local hungry, woken = { short = hungry_short, long = hungry_long }, { short = woken_short, long = woken_long }
local opposite = { short = 'long', long = 'short' }

local live = redis.call('EXISTS', policy) == 1 and redis.call('HMGET', policy, 'worker_concurrency_limit',
  'worker_concurrency_limit_short', 'worker_concurrency_limit_long', 'rasp_steal', 'rasp_steal_cooldown_s',
  'rasp_long_takes_short', 'starvation_bound_s') or {}
-- Only what the settings would take: a whole number from 1 on for a limit, one without a sign for a time.
local function limit_of(override, setting)
  local whole = override and string.match(override, '^%d+$')
  return whole and tonumber(whole) > 0 and tonumber(whole) or tonumber(setting)
end
local function seconds_of(override, setting) return tonumber((override or ''):match('^%d+%.?%d*$') or setting) end
-- The words that the settings take, so that a live override means here what it means there.
local function on(override, setting)
  local word = ' ' .. string.lower(override or '') .. ' '
  local yes, no = string.find(' 1 true t on yes y ', word, 1, true), string.find(' 0 false f off no n ', word, 1, true)
  return yes ~= nil or (no == nil and setting == '1')
end
local both = limit_of(live[1], limit)
local limits = { short = limit_of(live[2], limit_short) or both, long = limit_of(live[3], limit_long) or both }
local function found(limit, online) return math.min(limit, tonumber(online) or math.huge) end
local slots = { short = found(limits.short, online_short), long = found(limits.long, online_long) }
local may_steal = on(live[4], rasp_steal)
local cooldown_ms = seconds_of(live[5], rasp_steal_cooldown_s) * 1000
local may_borrow = on(live[6], rasp_long_takes_short)
local bound_ms = seconds_of(live[7], starvation_bound_s) * 1000

local role = redis.call('GET', role) or 'short' -- the word, no longer its key
local other = opposite[role]
local counts = redis.call('HMGET', active, 'short', 'long')
local held = { short = tonumber(counts[1] or 0), long = tonumber(counts[2] or 0) }

-- depth: submitted and not claimed; again: of these, requeued.
local depth, again = {}, {}
for class, queue in pairs(queues) do
  local length = redis.call('XLEN', queue)
  depth[class], again[class] = 0, 0
  if length > 0 then
    local groups = redis.pcall('XINFO', 'GROUPS', queue)
    if groups.err or not groups[1] then
      return { 'NOGROUP' }
    end
    local fresh = length
    for i = 1, #groups[1], 2 do
      fresh = groups[1][i] == 'pending' and length - groups[1][i + 1] or fresh
    end
    if fresh > redis.call('ZCARD', waiting[class]) then
      -- Submitted by an older version, or the group was made anew: order puts it right.
      return { 'UNORDERED' }
    end
    again[class] = redis.call('ZCARD', requeued[class])
    depth[class] = fresh + again[class]
  end
end

local told = redis.call('ZREM', woken_short, unit_name) + redis.call('ZREM', woken_long, unit_name) > 0
redis.call('ZREM', hungry_short, unit_name)
redis.call('ZREM', hungry_long, unit_name)

local function wake(name, from, to)
  local score = redis.call('ZSCORE', from, name)
  redis.call('ZREM', from, name)
  if tonumber(redis.call('ZSCORE', units, name) or 0) < judged - alive_ms then
    return false
  end
  redis.call('ZADD', to, score, name)
  redis.call('PEXPIRE', to, 1000, 'NX')
  redis.call('RPUSH', wake_prefix .. name, 'claim')
  redis.call('PEXPIRE', wake_prefix .. name, 60000)
  return true
end

-- Wakes the next unit of a role; of a bounded number: each failed try removes one that is dead.
local function wake_next(class, below)
  local seen = redis.call('ZRANGE', hungry[class], 0, 7, 'WITHSCORES')
  for i = 1, #seen, 2 do
    if tonumber(seen[i + 1]) >= below then
      return false
    end
    if seen[i] ~= unit_name and wake(seen[i], hungry[class], woken[class]) then
      return true
    end
  end
  return false
end

if redis.call('HGET', unit, 'draining') == '1' then
  -- Whoever was woken for a job in vain hands the wake-up on.
  if depth.short + depth.long > 0 and not wake_next(role, math.huge) then
    wake_next(other, role == 'short' and HOLDS_LONG or 0)
  end
  return { 'DRAINING' }
end

local jobs, large = {}, false
local more = { short = tonumber(short_tokens) or math.huge, long = tonumber(long_jobs) or math.huge }
-- By their ceilings, not by what each found, units are kept level: no unit is to get all that there is.
local function load() return held.short / limits.short + held.long / limits.long end
local function left(class) return slots[class] * (1 - held.short / slots.short - held.long / slots.long) + 1e-6 end
local function room(class)
  local free = more[class] > 0 and math.max(0, math.floor(left(class))) or 0 -- a hair for the rounding of shares
  return most == '' and free or math.min(free, most - #jobs)
end

local function end_unclaimed(job, id, class, seen, outcome, reason)
  redis.call('XACK', queues[class], 'units', seen[2])
  redis.call('XDEL', queues[class], seen[2])
  redis.call('HSET', job, 'state', 'finished', 'outcome', outcome, 'reason', reason, 'finished_ms', now)
  if seen[14] then
    redis.call('ZREM', open_prefix .. seen[14], id)
  end
  -- The count of bytes changes only together with the body that it counts.
  redis.call('DECRBY', bytes, redis.call('HSTRLEN', job, 'body'))
  redis.call('HDEL', job, 'body')
  redis.call('PEXPIRE', job, ttl_ms)
  redis.call('XADD', reply_prefix .. (seen[4] or ''), 'NOMKSTREAM', '*', id .. ':' .. seen[6] .. ':end',
    cjson.encode({ outcome = outcome, reason = reason }))
  redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event', outcome, 'job', id, 'class', class,
    'reason', reason, 'at_ms', now)
end

-- Hands out one entry that is now pending under this unit. Answers what that costs its owner, in
-- virtual time, or nothing when it did not.
local function hand_out(id, entry, class, why)
  local job = job_prefix .. id
  local seen = redis.call('HMGET', job, 'state', 'entry', 'deadline_ms', 'gateway', 'submitted_ms', 'attempt',
    'route', 'stream', 'body', 'unit', 'queued_ms', 'traceparent', 'weight', 'open', 'tokens')
  if seen[1] == 'running' and seen[2] == entry then
    -- A claim of an older version, which knows no order, has it.
    redis.call('XCLAIM', queues[class], 'units', seen[10], 0, entry, 'JUSTID')
    return
  end
  depth[class] = depth[class] - 1
  if seen[1] ~= 'queued' or seen[2] ~= entry then
    redis.call('XACK', queues[class], 'units', entry)
    redis.call('XDEL', queues[class], entry)
    return
  end
  if tonumber(seen[3]) <= now then
    return end_unclaimed(job, id, class, seen, 'expired', 'deadline passed while queued')
  elseif tonumber(redis.call('ZSCORE', gateways, seen[4] or '') or 0) < judged - alive_ms then
    return end_unclaimed(job, id, class, seen, 'cancelled', 'gateway gone')
  end
  local attempt = redis.call('HINCRBY', job, 'attempt', 1)
  redis.call('HSET', job, 'state', 'running', 'unit', unit_name, 'claimed_ms', now, 'why', why, 'role', role)
  redis.call('ZADD', leases, now + lease_ms, id)
  redis.call('HINCRBY', active, class, 1)
  redis.call('DEL', idle_since)
  held[class] = held[class] + 1
  redis.call('XADD', events, 'MAXLEN', '~', events_kept, '*', 'event',
    (class == role or why == 'requeued') and 'claimed' or 'stolen', 'job', id, 'class', class, 'unit', unit_name,
    'attempt', attempt, 'role', role, 'why', why, 'at_ms', now)
  jobs[#jobs + 1] = { id, class, attempt, why, seen[5], now, seen[3], seen[4], seen[7], seen[8], seen[9],
    seen[11] or seen[5], seen[12] or '', seen[15] }
  more[class] = more[class] - (class == 'short' and seen[15] or 1)
  large = large or #seen[9] > LARGE_BYTES
  return math.floor(COST / tonumber(seen[13] or 1))
end

local function priority_of(place) return tonumber(string.match(place, ':(%-?%d+)$') or 0) end
-- Takes a place out of the order, and sets its owner's next turn after what the job cost. What an owner
-- that has nothing left used beyond the others' time is kept, until they have caught up.
local function move_on(class, owner, place, cost, in_turn)
  local lane = lane_prefix .. class .. ':' .. owner
  local first = redis.call('ZRANGE', lane, 0, 0)[1]
  redis.call('ZREM', waiting[class], place)
  redis.call('ZREM', lane, place)
  local turn = tonumber(redis.call('ZSCORE', due[class], owner))
  if not turn or (cost == 0 and first ~= place) then return end
  local time = tonumber(redis.call('GET', virtual[class]) or 0)
  if cost > 0 and in_turn and turn > time then
    time = turn
    redis.call('SET', virtual[class], string.format('%.0f', time))
    redis.call('ZREMRANGEBYSCORE', spent[class], '-inf', time)
  end
  local used = turn - priority_of(first) * STEP + cost
  local head = redis.call('ZRANGE', lane, 0, 0)[1]
  if head then
    local priority = priority_of(head)
    turn = math.max(used + priority * STEP, time + math.min(priority, 0) * STEP)
    redis.call('ZADD', due[class], turn, owner)
    return
  end
  redis.call('ZREM', due[class], owner)
  if redis.call('EXISTS', due[class]) == 0 then
    redis.call('DEL', spent[class], virtual[class])
  elseif used > time then
    redis.call('ZADD', spent[class], used, owner)
  end
end

local function take_requeued(class, id, why)
  local entry = redis.call('HGET', job_prefix .. id, 'entry')
  redis.call('ZREM', requeued[class], id)
  again[class] = again[class] - 1
  if not entry then
    depth[class] = depth[class] - 1
    return false
  end
  redis.call('XCLAIM', queues[class], 'units', unit_name, 0, entry, 'JUSTID')
  return hand_out(id, entry, class, why == 'own' and 'requeued' or why)
end

-- A place is its entry, padded so that places sort, and its priority if it has one.
local function entry_of(place) return string.format('%s-%s', string.match(place, '^(%d+)%-0*(%d+)')) end
local function take_place(class, place, owner, why)
  local entry = entry_of(place)
  local claimed = redis.call('XCLAIM', queues[class], 'units', unit_name, 0, entry, 'FORCE')[1]
  local id = claimed and claimed[2][2]
  local in_turn = owner ~= nil
  owner = owner or id and redis.call('HGET', job_prefix .. id, 'owner') or ''
  local cost = id and hand_out(id, entry, class, why)
  move_on(class, owner, place, cost or 0, in_turn)
  return cost
end

-- The job that has waited longest, whatever its owner and priority: when it came, and which it is.
local function oldest(class)
  local id, again_ms = unpack(redis.call('ZRANGE', requeued[class], 0, 0, 'WITHSCORES'))
  local place, fresh_ms = unpack(redis.call('ZRANGE', waiting[class], 0, 0, 'WITHSCORES'))
  again_ms, fresh_ms = tonumber(again_ms), tonumber(fresh_ms)
  if again_ms and not (fresh_ms and fresh_ms < again_ms) then
    return again_ms, id
  end
  return fresh_ms, nil, place
end

local function oldest_now(class)
  local since, _, place = oldest(class)
  return since and bound_ms > 0 and now - since > bound_ms
    and redis.call('HINCRBY', unit, 'starved_claims', 1) % oldest_every == 0 and place or nil
end

local function too_large(id, place)
  local entry = id and redis.call('HGET', job_prefix .. id, 'entry') or place and entry_of(place)
  local found = entry and redis.call('XRANGE', queue_long, entry, entry)[1]
  return found and tonumber(found[2][4]) > tonumber(steal_tokens)
end

-- Takes up to n jobs of a class; clears those that nobody waits for any more, a bounded number of them.
local function take(class, n, why)
  local taken, first = 0, n > 0 and why == 'own' and oldest_every ~= '' and oldest_now(class)
  for _ = 1, 4 * n do
    if taken >= n or more[class] <= 0 or large then break end
    local id = again[class] > 0 and redis.call('ZRANGE', requeued[class], 0, 0)[1]
    local owner = not (id or first) and redis.call('ZRANGE', due[class], 0, 0)[1] or nil
    local place = not id and first or owner and redis.call('ZRANGE', lane_prefix .. class .. ':' .. owner, 0, 0)[1]
    first = id and first
    if not (id or place) or why == 'stolen' and steal_tokens ~= '' and too_large(id, place) then break end
    if id and take_requeued(class, id, why) or place and take_place(class, place, owner, why) then
      taken = taken + 1
    end
  end
  return taken
end

-- How many of n jobs to take now so that the units of this class that wait, woken or not, stay level. The
-- sixteen least loaded are enough to decide: together they hold more than one claim. Who was told to come gets one
-- that no other was told to come for.
local function share(class, n)
  n = math.min(n, depth[class])
  local mine = load()
  if n < 1 or (n == 1 and mine == 0) then return n end
  local loads, coming = {}, 0
  for _, names in ipairs({ woken[class], hungry[class] }) do
    coming = #loads
    local seen = redis.call('ZRANGE', names, 0, 15, 'WITHSCORES')
    for i = 1, #seen, 2 do
      if tonumber(redis.call('ZSCORE', units, seen[i]) or 0) >= judged - alive_ms then
        loads[#loads + 1] = math.max(0, tonumber(seen[i + 1])) % HOLDS_LONG
      end
    end
  end
  for took = 0, n - 1 do
    local level, absorbed, expected = mine + took / limits[class], 0, 0
    for i, theirs in ipairs(loads) do
      absorbed = absorbed + math.max(0, math.floor((level - theirs) * limits[class] + 0.001))
      expected = i <= coming and absorbed or expected
    end
    if depth[class] - took <= absorbed then
      return told and took == 0 and depth[class] > expected and 1 or took
    end
  end
  return n
end

local wait_ms = -1
local function wait(ms) wait_ms = (wait_ms < 0 or ms < wait_ms) and math.max(0, math.ceil(ms)) or wait_ms end

local idle = tonumber(redis.call('GET', idle_since) or now)
-- Bounded, a Short unit with work leaves starved long jobs to Long ones, unless it is alone.
local leaves = role == 'short' and oldest_every ~= '' and now - idle < cooldown_ms
if leaves and redis.call('ZCOUNT', units, judged - alive_ms, '+inf') == 1 then
  leaves, more.long = false, math.huge
end
-- Only a unit that holds none of the other class: an overload of one is not to push the other out.
if bound_ms > 0 and not leaves and depth[other] > 0 and held[other] == 0 and room(other) > 0 then
  for _ = 1, 4 do
    local since, id, place = oldest(other)
    if not since or now - since <= bound_ms then
      if since then
        wait(since + bound_ms - now + 1)
      end
      break
    end
    if id and take_requeued(other, id, 'starved') or place and take_place(other, place, nil, 'starved') then
      break
    end
  end
end

local own_before = depth[role]
if own_before > 0 then
  local wanted = math.min(room(role), own_before)
  local taken = take(role, share(role, wanted), 'own')
  if depth[role] > 0 and (taken < wanted or more[role] <= 0 and left(role) >= 1) then
    wait(taken < wanted and 200 or 500)
  elseif taken == 0 and depth[role] <= 0 then
    -- All were entries that nobody waits for any more: ask again, for what the other queue holds.
    wait(0)
  end
elseif role == 'short' then
  if may_steal and depth.long > 0 and held.short + held.long == 0 and room('long') > 0 then
    if now - idle >= cooldown_ms then
      take('long', 1, 'stolen')
    else
      wait(idle + cooldown_ms - now)
    end
  end
elseif may_borrow and held.long == 0 and depth.short > 0 then
  take('short', share('short', room('short')), 'borrowed')
end

if room(role) > 0 then
  local score = load()
  if score == 0 then
    score = idle / 1e13 - 1 -- the longest idle comes first: it may steal soonest
  elseif role == 'long' and held.long > 0 then
    score = score + HOLDS_LONG
  end
  redis.call('ZADD', hungry[role], string.format('%.17g', score), unit_name)
elseif wait_ms < 0 and (left(role) < 1 or more[role] > 0) then
  wait_ms = -2
end
wait_ms = large and room(role) > 0 and depth.short + depth.long > 0 and 0 or wait_ms
if own_before > 0 and depth[role] > redis.call('ZCARD', woken[role]) then
  wake_next(role, math.huge)
end
return { 'OK', role, wait_ms, unpack(jobs) }
