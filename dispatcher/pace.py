"""The pace of a unit: how many times as long as estimated its prefills take, from first bytes."""

from common.adaptive import AdaptivePolicy

_KEPT = 0.8
"""Share of the past that each prefill leaves: about the last five decide."""
_PRIOR_S = 2.0
"""Seconds of prefill at the usual pace that are taken for seen before any was."""
_SLOWEST = 10.0


class Pace:
    """Only long prompts tell it: what a short one takes is mostly waiting for the step before."""

    def __init__(self) -> None:
        self._took_s = 0.0
        self._expected_s = 0.0
        self._last_first_byte_s = float("-inf")

    @property
    def value(self) -> float:
        ratio = (self._took_s + _PRIOR_S) / (self._expected_s + _PRIOR_S)
        return min(_SLOWEST, max(1 / _SLOWEST, ratio))

    def first_byte(
        self, now_s: float, claimed_s: float, tokens: int, policy: AdaptivePolicy, *, long: bool
    ) -> None:
        """A job's first byte came. The prompt before it was in the way until its own first byte."""
        begun_s = max(claimed_s, self._last_first_byte_s)
        self._last_first_byte_s = now_s
        if long:
            self._took_s = self._took_s * _KEPT + (now_s - begun_s)
            self._expected_s = self._expected_s * _KEPT + policy.prefill_s(tokens)
