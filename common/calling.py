"""What all calls of scripts have in common: keys that go together, arguments that many have."""

from collections.abc import Callable, Mapping, Sequence

from common.keys import CLASSES, JobClass, Keys
from common.models import Bounds
from common.policy import Policy
from common.scripts import Arg, Call, Script
from common.settings import Settings


def ms(seconds: float) -> int:
    return round(seconds * 1000)


def or_none(number: int | None) -> Arg:
    return "" if number is None else number


def bounded(policy: Policy, bounds: Bounds) -> dict[str, Arg]:
    """What decides whether a unit has room for a job, and takes one of the other class."""
    return {
        "limit": policy.worker_concurrency_limit,
        "limit_short": policy.worker_concurrency_limit_short or "",
        "limit_long": policy.worker_concurrency_limit_long or "",
        "online_short": or_none(bounds.limit_short),
        "online_long": or_none(bounds.limit_long),
        "short_tokens": or_none(bounds.short_tokens),
        "long_jobs": or_none(bounds.long_jobs),
        "rasp_steal_cooldown_s": (
            policy.rasp_steal_cooldown_s if bounds.steal_idle_s is None else bounds.steal_idle_s
        ),
        "starvation_bound_s": policy.starvation_bound_s,
    }


class Calling:
    """Builds calls of one pool's scripts.

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

    def queue_keys(self) -> dict[str, str]:
        return {f"queue_{name}": self.keys.queue(name) for name in CLASSES}

    def _group_keys(self) -> dict[str, str]:
        return {f"group_{name}": self.keys.group(name) for name in CLASSES}

    def _order_keys(self, job_class: JobClass) -> dict[str, str]:
        kinds = ("requeued", "waiting", "due", "spent", "virtual")
        return {kind: getattr(self.keys, kind)(job_class) for kind in kinds}

    def _waiting_keys(self) -> dict[str, str]:
        hungry = {f"hungry_{name}": self.keys.hungry(name) for name in CLASSES}
        return hungry | {f"woken_{name}": self.keys.woken(name) for name in CLASSES}

    def _gateway_keys(self, gateway: str) -> dict[str, str]:
        keys = self.keys
        return {"gateways": keys.gateways, "reply": keys.reply(gateway), "pulse": keys.pulse}

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
