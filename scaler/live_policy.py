"""The policy of the settings with the live overrides, of which wrong ones are ignored and said."""

import logging
from collections.abc import Mapping

from common.policy import Policy
from scaler.metrics import WRONG_OVERRIDES

log = logging.getLogger(__name__)


class LivePolicy:
    """Gives the policy for a set of overrides; a wrong one is said once and leaves its setting."""

    def __init__(self, policy: Policy, pool: str) -> None:
        self._policy = policy
        self._pool = pool
        self._said: dict[str, str] = {}

    def under(self, overrides: Mapping[str, str]) -> Policy:
        wrong = self._policy.wrong(overrides)
        for name, value in sorted(wrong.items() - self._said.items()):
            log.warning("ignored a wrong override name=%s value=%r", name, value)
        self._said = wrong
        WRONG_OVERRIDES.labels(self._pool).set(len(wrong))
        return self._policy.under(overrides)
