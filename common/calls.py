"""The calls of the scripts that change something, from the words that the store uses."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from common.calling import bounded, ms, or_none
from common.keys import CLASSES, JobClass, other_class
from common.models import (
    UNBOUNDED,
    Bounds,
    Finish,
    Lease,
    NewJob,
    Outcome,
    Part,
    Relay,
)
from common.policy import Policy
from common.scripts import Arg, Call
from common.steering import SteeringCalls

_GATEWAYS_KNOWN = 256
"""Calls that are kept for gateways; these come and go."""


def _placed(part: Part) -> str:
    """A part's kind as the reply stream names it, with its place in the answer."""
    return part.kind if part.offset is None else f"{part.kind}:{part.offset}"


class Calls(SteeringCalls):
    """Builds the calls with which a pool changes."""

    @cached_property
    def _claims(self) -> dict[str, tuple[Policy, Call]]:
        """The usual claim of each unit, and the policy that it was built for."""
        return {}

    @cached_property
    def _relays(self) -> dict[tuple[str, str, str], Call]:
        """The calls that bring a unit's parts to a gateway, without the parts."""
        return {}

    def register(self, unit: str, fields: Mapping[str, Arg]) -> Call:
        keys = self._unit_keys(unit, "role", "active", "leases", "idle_since", "unit")
        keys |= self.queue_keys() | self._group_keys()
        keys |= {"units": self.keys.units, "pulse": self.keys.pulse, "models": self.keys.models}
        keys |= {"events": self.keys.events, "unit_prefix": self.keys.unit("")}
        keys["job_prefix"] = self.keys.job("")
        rest = [item for pair in fields.items() for item in pair]
        return self._call("register", keys, {"unit_name": unit}, rest)

    def leave(self, unit: str) -> Call:
        names = ("unit", "active", "leases", "idle_since", "wake")
        keys = self._unit_keys(unit, *names) | self._waiting_keys() | self._group_keys()
        keys |= {name: getattr(self.keys, name) for name in ("units", "pulse", "models")}
        keys |= {"unit_prefix": self.keys.unit(""), "wake_prefix": self.keys.wake("")}
        return self._call("leave", keys, {"unit_name": unit})

    def drain(self, unit: str, *, draining: bool) -> Call:
        keys = self._unit_keys(unit, "unit", "role", "wake") | self._group_keys()
        keys |= {"units": self.keys.units}
        return self._call("drain", keys, {"unit_name": unit, "draining": int(draining)})

    def submit(self, job: NewJob, policy: Policy, *, again: bool = False) -> Call:
        other = other_class(job.job_class)
        keys = {
            "queue": self.keys.queue(job.job_class),
            "queue_other": self.keys.queue(other),
            "lane": self.keys.lane(f"{job.job_class}:{job.owner}"),
            "rate": self.keys.rate(job.owner),
            "open": self.keys.open(job.owner),
            "job": self.keys.job(job.id),
            "bytes": self.keys.bytes,
            "gateways": self.keys.gateways,
            "pulse": self.keys.pulse,
            "hungry": self.keys.hungry(job.job_class),
            "woken": self.keys.woken(job.job_class),
            "hungry_other": self.keys.hungry(other),
            "woken_other": self.keys.woken(other),
            "units": self.keys.units,
            "policy": self.keys.policy,
            "events": self.keys.events,
            "wake_prefix": self.keys.wake(""),
        }
        keys |= self._order_keys(job.job_class)
        depths = {"short": policy.max_queue_depth_short, "long": policy.max_queue_depth_long}
        args: dict[str, Arg] = {
            "job_id": job.id,
            "class": job.job_class,
            "gateway": job.gateway,
            "timeout_ms": ms(job.timeout_s),
            "ttl_ms": ms(self._settings.job_ttl_s),
            "max_queue_depth": depths[job.job_class],
            "max_queue_bytes": policy.max_queue_bytes,
            "tokens": job.tokens,
            "owner": job.owner,
            "weight": job.weight,
            "priority": job.priority,
            "priority_step_ms": ms(self._settings.priority_step_s),
            "max_jobs": or_none(job.limits.jobs),
            "max_requests": or_none(job.limits.requests),
            "max_tokens": or_none(job.limits.tokens),
            "again": int(again),
            "later_ms": ms(policy.later_s(job.job_class, job.tokens)),
            "body": job.body,
        }
        fields: list[Arg] = ["route", job.route, "stream", int(job.stream)]
        if job.traceparent:
            fields += ["traceparent", job.traceparent]
        return self._call("submit", keys, args, fields)

    def beat(self, gateway: str) -> Call:
        keys = self._gateway_keys(gateway)
        args: dict[str, Arg] = {
            "gateway": gateway,
            "reply_ttl_ms": ms(self._settings.alive_s + self._settings.reply_ttl_s),
        }
        return self._call("beat", keys, args)

    def forget(self, gateway: str, *, dead_only: bool) -> Call:
        args: dict[str, Arg] = {"gateway": gateway, "dead_only": int(dead_only)}
        return self._call("forget", self._gateway_keys(gateway), args)

    def cancel(
        self, job: str, job_class: JobClass, gateway: str, reason: str, outcome: Outcome
    ) -> Call:
        keys = {
            "queue": self.keys.queue(job_class),
            "job": self.keys.job(job),
            "bytes": self.keys.bytes,
            "reply": self.keys.reply(gateway),
            "events": self.keys.events,
            "lane_prefix": self.keys.lane(""),
            "wake_prefix": self.keys.wake(""),
            "open_prefix": self.keys.open(""),
        }
        keys |= self._order_keys(job_class)
        args: dict[str, Arg] = {
            "job_id": job,
            "ttl_ms": ms(self._settings.job_ttl_s),
            "outcome": outcome,
            "reason": reason,
        }
        return self._call("cancel", keys, args)

    def renew(self, unit: str, held: Sequence[tuple[str, int]]) -> Call:
        keys = {"leases": self.keys.leases(unit), "job_prefix": self.keys.job("")}
        rest: list[Arg] = [item for pair in held for item in pair]
        args: dict[str, Arg] = {"unit_name": unit, "lease_ms": ms(self._settings.lease_s)}
        return self._call("renew", keys, args, rest)

    def requeue(
        self,
        unit: str,
        lease: Lease,
        gateway: str,
        reason: str,
        *,
        spared: bool,
        revoked: bool,
        lapsed_only: bool,
    ) -> Call:
        unit_keys = self._unit_keys(unit, "active", "leases", "idle_since")
        keys = unit_keys | {
            "queue": self.keys.queue(lease.job_class),
            "requeued": self.keys.requeued(lease.job_class),
            "job": self.keys.job(lease.job),
            "bytes": self.keys.bytes,
            "pulse": self.keys.pulse,
            "reply": self.keys.reply(gateway),
            "dead": self.keys.dead,
            "events": self.keys.events,
            "hungry": self.keys.hungry(lease.job_class),
            "woken": self.keys.woken(lease.job_class),
            "hungry_other": self.keys.hungry(other_class(lease.job_class)),
            "woken_other": self.keys.woken(other_class(lease.job_class)),
            "units": self.keys.units,
            "wake_prefix": self.keys.wake(""),
            "open_prefix": self.keys.open(""),
        }
        args: dict[str, Arg] = {
            "job_id": lease.job,
            "attempt": lease.attempt,
            "unit_name": unit,
            "class": lease.job_class,
            "ttl_ms": ms(self._settings.job_ttl_s),
            "dead_kept": self._settings.dead_kept,
            "dead_bodies_kept": min(self._settings.dead_bodies_kept, self._settings.dead_kept),
            "dead_bodies_bytes": self._settings.dead_bodies_bytes,
            "max_attempts": self._settings.max_attempts,
            "lapsed_only": int(lapsed_only),
            "spared": int(spared),
            "revoked": int(revoked),
            "reason": reason,
        }
        return self._call("requeue", keys, args)

    def relay(self, unit: str, relay: Relay) -> Call:
        rest: list[Arg] = []
        for part in relay.parts:
            rest += (part.job, part.attempt, _placed(part), part.content)
        # All but the number is the same each time; it comes last.
        known = self._relays.get((unit, relay.gateway, relay.run))
        if known is None or self._now_ms:
            keys = self._unit_keys(unit, "unit") | {
                "reply": self.keys.reply(relay.gateway),
                "job_prefix": self.keys.job(""),
            }
            args: dict[str, Arg] = {"unit_name": unit, "run": relay.run, "number": relay.number}
            known = self._call("relay", keys, args)
            if len(self._relays) >= _GATEWAYS_KNOWN:
                self._relays.clear()
            self._relays[unit, relay.gateway, relay.run] = known
        return Call(known.script, [*known.arguments[:-1], relay.number, *rest])

    def finish(
        self,
        unit: str,
        finish: Finish,
        policy: Policy,
        bounds: Bounds = UNBOUNDED,
        *,
        rest: bool = False,
    ) -> Call:
        names = ("role", "unit", "active", "leases", "idle_since")
        keys = self._unit_keys(unit, *names) | self._waiting_keys()
        keys |= {
            f"{kind}_{name}": getattr(self.keys, kind)(name)
            for name in CLASSES
            for kind in ("waiting", "requeued")
        }
        keys |= {
            "units": self.keys.units,
            "policy": self.keys.policy,
            "queue": self.keys.queue(finish.job_class),
            "job": self.keys.job(finish.job),
            "bytes": self.keys.bytes,
            "reply": self.keys.reply(finish.gateway),
            "events": self.keys.events,
            "open_prefix": self.keys.open(""),
        }
        args: dict[str, Arg] = {
            "job_id": finish.job,
            "attempt": finish.attempt,
            "unit_name": unit,
            "class": finish.job_class,
            "ttl_ms": ms(self._settings.job_ttl_s),
            "outcome": finish.outcome,
            "status": finish.status,
            "reason": finish.reason,
            "prompt_tokens": finish.prompt_tokens,
            "completion_tokens": finish.completion_tokens,
            "rest": int(rest),
            **bounded(policy, bounds),
        }
        parts: list[Arg] = []
        for part in finish.parts:
            parts += (_placed(part), part.content)
        return self._call("finish", keys, args, parts)

    def claim(
        self, unit: str, policy: Policy, most: int | None = None, bounds: Bounds = UNBOUNDED
    ) -> Call:
        if most is not None or bounds is not UNBOUNDED:
            return self._claim(unit, policy, most, bounds)
        # On Redis's clock a claim is the same call every time, and the most frequent one.
        known = self._claims.get(unit)
        if known and known[0] is policy and not self._now_ms:
            return known[1]
        call = self._claim(unit, policy, None, UNBOUNDED)
        self._claims[unit] = (policy, call)
        return call

    def _claim(self, unit: str, policy: Policy, most: int | None, bounds: Bounds) -> Call:
        keys = self.queue_keys() | self._waiting_keys()
        keys |= self._unit_keys(unit, "role", "active", "leases", "idle_since", "unit")
        keys |= {
            f"{kind}_{name}": key
            for name in CLASSES
            for kind, key in self._order_keys(name).items()
        }
        keys |= {
            "units": self.keys.units,
            "gateways": self.keys.gateways,
            "pulse": self.keys.pulse,
            "bytes": self.keys.bytes,
            "policy": self.keys.policy,
            "events": self.keys.events,
            "job_prefix": self.keys.job(""),
            "lane_prefix": self.keys.lane(""),
            "reply_prefix": self.keys.reply(""),
            "wake_prefix": self.keys.wake(""),
            "open_prefix": self.keys.open(""),
        }
        args: dict[str, Arg] = {
            "unit_name": unit,
            "lease_ms": ms(self._settings.lease_s),
            "ttl_ms": ms(self._settings.job_ttl_s),
            "most": or_none(most),
            "steal_tokens": or_none(bounds.steal_tokens),
            "oldest_every": or_none(bounds.oldest_every),
            **bounded(policy, bounds),
            "rasp_steal": int(policy.rasp_steal),
            "rasp_long_takes_short": int(policy.rasp_long_takes_short),
        }
        return self._call("claim", keys, args)

    def order(self, job_class: JobClass, page: int) -> Call:
        keys = self._order_keys(job_class) | {
            "queue": self.keys.queue(job_class),
            "job_prefix": self.keys.job(""),
            "lane_prefix": self.keys.lane(""),
        }
        args: dict[str, Arg] = {
            "class": job_class,
            "page": page,
            "priority_step_ms": ms(self._settings.priority_step_s),
        }
        return self._call("order", keys, args)
