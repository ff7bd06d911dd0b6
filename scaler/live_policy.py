"""The policy of the settings with the live overrides, of which wrong ones are ignored."""

import logging
from collections.abc import Mapping

from pydantic import ValidationError

from common.policy import Policy
from scaler.metrics import WRONG_OVERRIDES

log = logging.getLogger(__name__)


class LivePolicy:
    """Gives the policy for a set of overrides; a wrong one is said once and leaves its setting."""

    def __init__(self, policy: Policy, pool: str) -> None:
        self._policy = policy
        self._pool = pool
        self._said: set[tuple[str, str]] = set()

    def under(self, overrides: Mapping[str, str]) -> Policy:
        wrong = {(name, value) for name, value in overrides.items() if not self._fits(name, value)}
        for name, value in sorted(wrong - self._said):
            log.warning("ignored a wrong override name=%s value=%r", name, value)
        self._said = wrong
        WRONG_OVERRIDES.labels(self._pool).set(len(wrong))
        return self._policy.with_overrides(dict(overrides.items() - wrong))

    def _fits(self, name: str, value: str) -> bool:
        try:
            self._policy.with_overrides({name: value})
        except ValidationError:
            return False
        return True
