"""The calls of the scripts that steer: roles, what units prefill, and what steals cost."""

from collections.abc import Callable, Mapping, Sequence

from common.keys import CLASSES, JobClass, Keys
from common.models import Prefilling
from common.policy import Policy
from common.scripts import Arg, Call, Script
from common.settings import Settings
from common.steals import Weighed


def ms(seconds: float) -> int:
    return round(seconds * 1000)


class SteeringCalls:
    """What all calls of a pool's scripts share, and those of the scaler and of whoever steals.

    `now_ms` replaces Redis's clock, for tests and simulations.
    """

    def __init__(
        self,
        scripts: Mapping[str, Script],
        settings: Settings,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.keys = Keys(settings.pool)
        self._scripts = scripts
        self._settings = settings
        self._now_ms = now_ms

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

    def survey(self, units: Sequence[str]) -> Call:
        keys = {
            "queue_long": self.keys.queue("long"),
            "requeued_long": self.keys.requeued("long"),
            "due_long": self.keys.due("long"),
            "job_prefix": self.keys.job(""),
            "leases_prefix": self.keys.leases(""),
            "lane_prefix": self.keys.lane(""),
        }
        return self._call("survey", keys, {}, units)

    def lead(self, scaler: str, ttl_s: float) -> Call:
        args: dict[str, Arg] = {"scaler": scaler, "ttl_ms": ms(ttl_s)}
        return self._call("lead", {"leader": self.keys.leader}, args)

    def flip(self, scaler: str, unit: str, to: JobClass, reason: str, policy: Policy) -> Call:
        keys = self._waiting_keys() | {
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

    def _waiting_keys(self) -> dict[str, str]:
        hungry = {f"hungry_{name}": self.keys.hungry(name) for name in CLASSES}
        return hungry | {f"woken_{name}": self.keys.woken(name) for name in CLASSES}

    def _short_waiting(self) -> dict[str, str]:
        return {
            "waiting_short": self.keys.waiting("short"),
            "requeued_short": self.keys.requeued("short"),
        }

    def _unit_keys(self, unit: str, *names: str) -> dict[str, str]:
        return {name: getattr(self.keys, name)(unit) for name in names}

    def _call(
        self, name: str, keys: Mapping[str, str], args: Mapping[str, Arg], rest: Sequence[Arg] = ()
    ) -> Call:
        script = self._scripts[name]
        common: dict[str, Arg] = {
            "now_ms": self._now_ms() if self._now_ms else "",
            "alive_ms": ms(self._settings.alive_s),
            "events_kept": self._settings.events_kept,
        }
        shared = {key: value for key, value in common.items() if key in script.args}
        return script.call(keys, shared | dict(args), rest)
