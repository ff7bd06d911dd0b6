"""The settings of a play, and the same numbers as its model reads them."""

from uuid import uuid4

from common.keys import CLASSES
from common.policy import Policy
from common.settings import Settings
from tests.lua.model_state import (
    ALIVE_MS,
    DEAD_BODIES_BYTES,
    DEAD_BODIES_KEPT,
    LEASE_MS,
    MAX_ATTEMPTS,
    Rules,
)


def play_settings() -> Settings:
    # What lives by the server's own clock outlasts any play.
    return Settings(
        _env_file=None,
        pool=uuid4().hex,
        alive_s=ALIVE_MS / 1000,
        lease_s=LEASE_MS / 1000,
        max_attempts=MAX_ATTEMPTS,
        dead_bodies_kept=DEAD_BODIES_KEPT,
        dead_bodies_bytes=DEAD_BODIES_BYTES,
        reply_ttl_s=3600.0,
        worker_concurrency_limit_short=3,
        worker_concurrency_limit_long=2,
        starvation_bound_s=20.0,
        max_queue_depth_short=8,
        max_queue_depth_long=6,
        max_queue_bytes=120,
        qhap_cooldown_s=60.0,
    )


def rules(policy: Policy) -> Rules:
    return Rules(
        limits={name: policy.limit(name) for name in CLASSES},
        depths={"short": policy.max_queue_depth_short, "long": policy.max_queue_depth_long},
        max_bytes=policy.max_queue_bytes,
        min_short=policy.qhap_min_short,
        min_long=policy.qhap_min_long,
        steal=policy.rasp_steal,
        steal_cooldown_ms=round(policy.rasp_steal_cooldown_s * 1000),
        borrow=policy.rasp_long_takes_short,
        bound_ms=round(policy.starvation_bound_s * 1000),
    )
