"""Deliberate breakages of the scripts, each of which the tests of the scripts must notice."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from common.scripts import Script

VARIABLE = "SCRIPT_MUTANT"
"""Names the one mutant that is in force, in a test run that is to fail."""


@dataclass(frozen=True)
class Mutant:
    """`old` stands once in the script; `caught_by` is the file of tests that notice."""

    script: str
    old: str
    new: str
    caught_by: str


MUTANTS = {
    "finish without a fence": Mutant(
        "finish",
        "if seen[1] ~= 'running' or seen[2] ~= attempt or seen[4] ~= unit_name then",
        "if seen[1] ~= 'running' then",
        "test_answers",
    ),
    "relay without a fence": Mutant(
        "relay",
        "seen[1] == 'running' and seen[2] == attempt and seen[3] == unit_name",
        "true",
        "test_answers",
    ),
    "renew without a fence": Mutant(
        "renew",
        "seen[1] == 'running' and seen[2] == ARGV[i + 1] and seen[3] == unit_name and ",
        "",
        "test_leases",
    ),
    "reclaim without a look at the lease": Mutant(
        "requeue",
        "if not expires or tonumber(expires) > judged then",
        "if not expires then",
        "test_leases",
    ),
    "a counter changed without the set that it counts": Mutant(
        "finish", "redis.call('ZREM', leases, job_id) == 1", "true", "test_answers"
    ),
    "requeued jobs taken newest first": Mutant(
        "claim",
        "redis.call('ZRANGE', requeued[class], 0, 0)[1]\n",
        "redis.call('ZREVRANGE', requeued[class], 0, 0)[1]\n",
        "test_claim",
    ),
    "requeued jobs taken after new ones": Mutant(
        "claim",
        "local id = again[class] > 0 and",
        "local id = again[class] > 0 and depth[class] == again[class] and",
        "test_claim",
    ),
    "a flip without the guard of the last Short unit": Mutant(
        "flip",
        "if to == 'long' and alive.short - 1 < tonumber(min_short) then",
        "if false then",
        "test_roles",
    ),
    "a flip in the cooldown": Mutant(
        "flip",
        "if cooled and (now_ms == '' or (tonumber(cooled) or now + 1) > now) then",
        "if false then",
        "test_roles",
    ),
    "a steal by a unit that was busy just now": Mutant(
        "claim", "if now - idle >= cooldown_ms then", "if true then", "test_claim_rasp"
    ),
    "a steal by a unit that is busy": Mutant(
        "claim",
        "depth.long > 0 and held.short + held.long == 0 and room('long') > 0",
        "depth.long > 0 and room('long') > 0",
        "test_claim_rasp",
    ),
    "a job handed out past its deadline": Mutant(
        "claim", "if tonumber(seen[3]) <= now then", "if false then", "test_claim"
    ),
    "a job handed out that is not queued": Mutant(
        "claim",
        "if seen[1] ~= 'queued' or seen[2] ~= entry then",
        "if seen[1] == 'finished' then",
        "test_claim",
    ),
    "a job of a dead gateway handed out": Mutant(
        "claim",
        "if tonumber(redis.call('ZSCORE', gateways, seen[4] or '') or 0) < judged - alive_ms then",
        "if false then",
        "test_silence",
    ),
    "large bodies that a claim brings together": Mutant(
        "claim", "or more[class] <= 0 or large then", "or more[class] <= 0 then", "test_claim"
    ),
    "one slot too many": Mutant(
        "claim",
        "math.max(0, math.floor(left(class)))",
        "math.max(0, math.floor(left(class))) + 1",
        "test_claim_slots",
    ),
    "a submit that counts twice": Mutant("submit", "if state then", "if false then", "test_submit"),
    "one attempt too many": Mutant(
        "requeue", ">= tonumber(max_attempts)", "> tonumber(max_attempts)", "test_leases"
    ),
    "bytes that are not given back": Mutant(
        "cancel",
        "redis.call('DECRBY', bytes, redis.call('HSTRLEN', job, 'body'))",
        "",
        "test_cancel",
    ),
    "a turn that does not move on": Mutant(
        "claim", "math.floor(COST / tonumber(seen[13] or 1))", "0", "test_order"
    ),
    "a weight that does not count": Mutant(
        "claim", "math.floor(COST / tonumber(seen[13] or 1))", "COST", "test_order"
    ),
    "virtual time that stands still": Mutant(
        "claim", "if cost > 0 and in_turn and turn > time then", "if false then", "test_order"
    ),
    "what an owner used forgotten when it has nothing left": Mutant(
        "submit", "tonumber(redis.call('ZSCORE', spent, owner) or 0)", "0", "test_order"
    ),
    "a priority that an owner's own jobs do not feel": Mutant(
        "submit", "now + priority * priority_step_ms", "now", "test_order"
    ),
    "a priority that other owners do not feel": Mutant(
        "submit",
        "math.max(tonumber(redis.call('ZSCORE', spent, owner) or 0), time) + priority * STEP",
        "math.max(tonumber(redis.call('ZSCORE', spent, owner) or 0), time)",
        "test_order",
    ),
    "a cancelled job that keeps its place": Mutant(
        "cancel", "redis.call('ZREM', lane, place)", "", "test_order"
    ),
    "a starved job that is not the oldest": Mutant(
        "claim", "fresh_ms and fresh_ms < again_ms", "false", "test_order"
    ),
    "entries without a place that nobody looks for": Mutant(
        "claim",
        "if fresh > redis.call('ZCARD', waiting[class]) then",
        "if false then",
        "test_order",
    ),
    "one request more than the limit": Mutant(
        "submit", "if need > left then", "if need > left + 1 then", "test_limits"
    ),
    "a minute that is a second short": Mutant(
        "submit", "second - 60", "second - 59", "test_limits"
    ),
    "one job at a time more than the limit": Mutant(
        "submit", ">= tonumber(max_jobs)", "> tonumber(max_jobs)", "test_limits"
    ),
    "a job submitted again that counts again": Mutant(
        "submit", "if limited and again == '0' then", "if limited then", "test_limits"
    ),
    "a dead job that goes on counting": Mutant(
        "requeue", "redis.call('ZREM', open_prefix .. seen[9], job_id)", "", "test_limits"
    ),
    "bodies of dead jobs kept without a bound": Mutant(
        "requeue", "or room < 0 then", "then", "test_bytes"
    ),
    "short jobs taken beyond the backlog": Mutant(
        "claim", "or more[class] <= 0 or large then", "or large then", "test_claim_bounds"
    ),
    "a unit with a full backlog that is woken": Mutant(
        "claim", "local free = more[class] > 0 and", "local free =", "test_claim_bounds"
    ),
    "a starved long job on a Short unit with work": Mutant(
        "claim",
        "local leaves = role == 'short' and",
        "local leaves = false and",
        "test_claim_bounds",
    ),
    "a lone unit that leaves a starved job to nobody": Mutant(
        "claim", "leaves, more.long = false, math.huge", "more.long = 0", "test_claim_bounds"
    ),
    "the oldest never first": Mutant(
        "claim",
        "% oldest_every == 0 and place or nil",
        "% oldest_every < 0 and place or nil",
        "test_claim_bounds",
    ),
    "a size that does not count": Mutant(
        "submit",
        "priority * priority_step_ms + later_ms",
        "priority * priority_step_ms",
        "test_claim_bounds",
    ),
    "a unit that holds more than it found": Mutant(
        "claim",
        "short = found(limits.short, online_short)",
        "short = limits.short",
        "test_online",
    ),
    "units that are level by what they found": Mutant(
        "claim",
        "return held.short / limits.short",
        "return held.short / slots.short",
        "test_online",
    ),
    "a unit that is woken above what it found": Mutant(
        "finish",
        "short = found(limits.short, online_short)",
        "short = limits.short",
        "test_online",
    ),
    "a limit that rises as an event": Mutant(
        "register", "< (tonumber(before) or 0)", "~= (tonumber(before) or 0)", "test_online"
    ),
    "a prefill that ended before this attempt": Mutant(
        "survey", "tonumber(first_byte_ms) >= tonumber(claimed_ms)", "true", "test_survey"
    ),
    "a steal of any size": Mutant(
        "claim", "and too_large(id, place) then", "and false then", "test_claim_bounds"
    ),
    "a steal charged before anybody looked": Mutant(
        "weigh", "tonumber(redis.call('ZSCORE', steals, member))", "tonumber(seen[3])", "test_weigh"
    ),
    "a steal that answers for all that wait": Mutant(
        "weigh", "waiting / redis.call('ZCARD', steals)", "waiting", "test_weigh"
    ),
    "a steal that answers for more than fits": Mutant(
        "weigh",
        "math.min(waiting / redis.call('ZCARD', steals), tonumber(room))",
        "waiting / redis.call('ZCARD', steals)",
        "test_weigh",
    ),
    "steals of a dead dispatcher that go on": Mutant(
        "weigh",
        "redis.call('ZREMRANGEBYSCORE', steals, '-inf', now - SILENT_MS)",
        "",
        "test_weigh",
    ),
    "a superseded attempt that is charged": Mutant(
        "weigh",
        "if seen[1] ~= attempt or seen[2] ~= unit_name then",
        "if not seen[1] then",
        "test_weigh",
    ),
    "an account that is closed twice": Mutant("weigh", "elseif last then", "else", "test_weigh"),
    "a job asked back that has sent a byte": Mutant(
        "revoke", "elseif seen[5] and tonumber", "elseif false and tonumber", "test_revoke"
    ),
    "a job handed back that counts as failed": Mutant(
        "requeue",
        "if spared == '1' or revoked == '1' then",
        "if spared == '1' then",
        "test_revoke",
    ),
    "a job handed back that is not counted": Mutant(
        "requeue", "redis.call('HINCRBY', job, 'revoked', 1)", "", "test_revoke"
    ),
    "a job asked back without an end": Mutant(
        "revoke",
        "elseif tonumber(seen[6] or 0) >= tonumber(most) then",
        "elseif false then",
        "test_revoke",
    ),
    "a job asked back that its unit takes again": Mutant(
        "revoke",
        "elseif redis.call('GET', role) ~= 'short' then",
        "elseif false then",
        "test_revoke",
    ),
    "a job asked back for nobody": Mutant(
        "revoke", "redis.call('ZCARD', requeued_short) == 0 then", "0 == -1 then", "test_revoke"
    ),
    "an older attempt asked back": Mutant(
        "revoke",
        "if seen[1] ~= 'running' or seen[2] ~= attempt or seen[3] ~= unit_name then",
        "if false then",
        "test_revoke",
    ),
    "a scaler that does not lead asks back": Mutant(
        "revoke", "if redis.call('GET', leader) ~= scaler then", "if false then", "test_revoke"
    ),
    "a scaler that does not lead adjusts": Mutant(
        "adjust", "if redis.call('GET', leader) ~= scaler then", "if false then", "test_revoke"
    ),
    "a unit that rests although jobs wait": Mutant(
        "finish",
        "redis.call('ZCARD', waiting[name]) + redis.call('ZCARD', requeued[name])",
        "redis.call('ZCARD', waiting[name])",
        "test_rest",
    ),
    "a job claimed twice, as somebody was woken for it": Mutant(
        "finish",
        "redis.call('ZCARD', woken[name]) - (told[name] and 1 or 0)",
        "0",
        "test_rest",
    ),
    "a wake-up for a job that somebody was woken for": Mutant(
        "claim",
        "depth[role] > redis.call('ZCARD', woken[role])",
        "depth[role] > 0",
        "test_claim_spread",
    ),
    "a wake-up in vain, as another has less to do": Mutant(
        "claim",
        "return told and took == 0 and depth[class] > expected and 1 or took",
        "return took",
        "test_claim_spread",
    ),
    "a look that counts what has just come": Mutant(
        "look", "now - oldest(name) >= tonumber(late_ms)", "true", "test_rest"
    ),
    "a look that forgets what has starved": Mutant(
        "look", "now - oldest(other) > bound_ms", "false", "test_look"
    ),
    "a finish that forgets what has starved": Mutant(
        "finish", "now - oldest(other) > bound_ms", "false", "test_rest"
    ),
    "a unit that is woken for what its bounds keep out": Mutant(
        "finish",
        "local has_room = open[mine] and fits(mine)",
        "local has_room = fits(mine)",
        "test_rest",
    ),
    "a draining unit that is woken": Mutant(
        "finish", "or redis.call('HGET', unit, 'draining') == '1' then", "then", "test_rest"
    ),
    "a flipped unit that still counts for the role that it had": Mutant(
        "flip", "redis.call('ZREM', from, unit_name)", "", "test_roles"
    ),
    "a unit that left and still counts": Mutant(
        "leave",
        "woken_short, woken_long, group_short, group_long }) do",
        "woken_short, woken_long }) do",
        "test_units",
    ),
    "a draining unit that counts again with its next heartbeat": Mutant(
        "register",
        "if redis.call('HGET', unit, 'draining') == '1' then",
        "if false then",
        "test_units",
    ),
    "models of a unit that left": Mutant(
        "leave", "redis.call('ZREM', models, model)", "", "test_units"
    ),
    "models that a unit serves no more": Mutant(
        "register", "redis.call('ZREM', models, model)", "", "test_units"
    ),
    "a role that a heartbeat does not put right": Mutant(
        "register", "redis.call('ZREM', others, unit_name)", "", "test_units"
    ),
    "a unit that takes jobs again and does not count": Mutant(
        "drain", "if beat then", "if false then", "test_units"
    ),
    "a silent unit that is counted": Mutant(
        "tally",
        "redis.call('ZCOUNT', group, judged - alive_ms, '+inf')",
        "redis.call('ZCARD', group)",
        "test_units",
    ),
    "models of units that are silent": Mutant(
        "tally", "models, judged - alive_ms, '+inf'", "models, '-inf', '+inf'", "test_units"
    ),
    "a silent unit that is named": Mutant(
        "least", "group, judged - alive_ms, '+inf'", "group, '-inf', '+inf'", "test_roles"
    ),
    "the unit with the fewest jobs of one class": Mutant(
        "least", "(counts[1] or 0) + (counts[2] or 0)", "(counts[1] or 0)", "test_roles"
    ),
    "everybody looks after the silent": Mutant(
        "overdue", "if drawn * live >= tonumber(lookers) then", "if false then", "test_units"
    ),
    "a guard that counts too few units": Mutant(
        "flip", "(to == 'long' or alive.long >= need.long)", "true", "test_roles"
    ),
    "silence judged while Redis was away": Mutant(
        "forget", "judged = tonumber(beat)", "judged = now", "test_silence"
    ),
}


def applied(scripts: Mapping[str, Script]) -> dict[str, Script]:
    """The scripts with the mutant that is in force, if one is. Raises ValueError."""
    name = os.environ.get(VARIABLE)
    if not name:
        return dict(scripts)
    mutant = MUTANTS[name]
    script = scripts[mutant.script]
    if script.text.count(mutant.old) != 1:
        raise ValueError(f"not once in {mutant.script}: {mutant.old}")
    mutated = replace(script, text=script.text.replace(mutant.old, mutant.new))
    return dict(scripts) | {mutant.script: mutated}
