"""The calls of the scripts that change nothing."""

from collections.abc import Sequence

from common.calling import Calling, bounded, ms
from common.keys import CLASSES, JobClass
from common.models import UNBOUNDED, Bounds
from common.policy import Policy
from common.scripts import Arg, Call


class Looks(Calling):
    """Builds the calls with which a pool is looked at."""

    def tally(self) -> Call:
        keys = self.queue_keys() | self._group_keys()
        keys |= {
            f"{kind}_{name}": getattr(self.keys, kind)(name)
            for name in CLASSES
            for kind in ("requeued", "waiting", "virtual")
        }
        others = ("units", "models", "pulse", "policy", "bytes", "dead")
        keys |= {name: getattr(self.keys, name) for name in others}
        return self._call("tally", keys, {})

    def least(self, role: JobClass) -> Call:
        keys = {
            "group": self.keys.group(role),
            "pulse": self.keys.pulse,
            "active_prefix": self.keys.active(""),
        }
        return self._call("least", keys, {})

    def overdue(self, unit: str, forget_s: float, lookers: int, drawn: float) -> Call:
        keys = {name: getattr(self.keys, name) for name in ("units", "gateways", "pulse")}
        keys |= self._unit_keys(unit, "leases")
        args: dict[str, Arg] = {"forget_ms": ms(forget_s), "lookers": lookers, "drawn": drawn}
        return self._call("overdue", keys, args)

    def look(
        self,
        unit: str,
        late_s: float,
        job_class: JobClass | None,
        policy: Policy,
        bounds: Bounds = UNBOUNDED,
    ) -> Call:
        keys = {
            f"{kind}_{name}": getattr(self.keys, kind)(name)
            for name in CLASSES
            for kind in ("waiting", "requeued", "hungry")
        }
        keys |= self._unit_keys(unit, "role", "active", "unit")
        keys |= {"units": self.keys.units, "policy": self.keys.policy}
        args: dict[str, Arg] = {
            "unit_name": unit,
            "late_ms": ms(late_s),
            "class": job_class or "",
            **bounded(policy, bounds),
        }
        return self._call("look", keys, args)

    def survey(self, units: Sequence[str]) -> Call:
        keys = {
            "queue_long": self.keys.queue("long"),
            "requeued_long": self.keys.requeued("long"),
            "due_long": self.keys.due("long"),
            "job_prefix": self.keys.job(""),
            "leases_prefix": self.keys.leases(""),
            "lane_prefix": self.keys.lane(""),
            "units": self.keys.units,
            "pulse": self.keys.pulse,
            "role_prefix": self.keys.role(""),
            "active_prefix": self.keys.active(""),
            "unit_prefix": self.keys.unit(""),
        }
        return self._call("survey", keys, {}, units)
