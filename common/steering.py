"""The calls of the scripts that steer: roles, and what steals cost."""

from common.calling import Calling, ms
from common.keys import JobClass
from common.models import Prefilling
from common.policy import Policy
from common.scripts import Arg, Call
from common.steals import Weighed


class SteeringCalls(Calling):
    """Builds the calls of the scaler, and of whoever steals."""

    def weigh(self, unit: str, steal: Weighed, *, over: bool) -> Call:
        keys = {
            "job": self.keys.job(steal.job),
            "steals": self.keys.steals,
            "stealing": self.keys.stealing,
            "events": self.keys.events,
        }
        args: dict[str, Arg] = {
            "job_id": steal.job,
            "attempt": steal.attempt,
            "unit_name": unit,
            "behind": steal.behind,
            "room": steal.room,
            "over": int(over),
        }
        return self._call("weigh", keys | self._short_waiting(), args)

    def revoke(self, scaler: str, found: Prefilling, most: int, reason: str) -> Call:
        keys = {
            "leader": self.keys.leader,
            "job": self.keys.job(found.job),
            "role": self.keys.role(found.unit),
            "events": self.keys.events,
            "wake": self.keys.wake(found.unit),
        }
        args: dict[str, Arg] = {
            "scaler": scaler,
            "job_id": found.job,
            "attempt": found.attempt,
            "unit_name": found.unit,
            "most": most,
            "reason": reason,
        }
        return self._call("revoke", keys | self._short_waiting(), args)

    def adjust(self, scaler: str, idle_s: float, tokens: int) -> Call:
        keys = {"leader": self.keys.leader, "stealing": self.keys.stealing}
        return self._call(
            "adjust", keys, {"scaler": scaler, "idle_ms": ms(idle_s), "tokens": tokens}
        )

    def lead(self, scaler: str, ttl_s: float) -> Call:
        args: dict[str, Arg] = {"scaler": scaler, "ttl_ms": ms(ttl_s)}
        return self._call("lead", {"leader": self.keys.leader}, args)

    def flip(self, scaler: str, unit: str, to: JobClass, reason: str, policy: Policy) -> Call:
        keys = self._waiting_keys() | self._group_keys()
        keys |= {
            "units": self.keys.units,
            "pulse": self.keys.pulse,
            "leader": self.keys.leader,
            "cooldown": self.keys.cooldown,
            "role": self.keys.role(unit),
            "events": self.keys.events,
            "role_prefix": self.keys.role(""),
            "unit_prefix": self.keys.unit(""),
            "wake_prefix": self.keys.wake(""),
        }
        args: dict[str, Arg] = {
            "scaler": scaler,
            "unit_name": unit,
            "to": to,
            "cooldown_ms": ms(policy.flip_cooldown_s),
            "min_short": policy.qhap_min_short,
            "min_long": policy.qhap_min_long,
            "reason": reason,
        }
        return self._call("flip", keys, args)

    def _short_waiting(self) -> dict[str, str]:
        return {
            "waiting_short": self.keys.waiting("short"),
            "requeued_short": self.keys.requeued("short"),
        }
