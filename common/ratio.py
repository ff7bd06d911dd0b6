"""A ratio of two sums that forgets."""


class DecayedRatio:
    """How much of one thing there is for one of another, of late.

    Each addition weighs by its size, so that large observations count for what they are; what came
    before fades by the share `fade` of it each time.
    """

    def __init__(self, fade: float, above: float = 0.0, below: float = 0.0) -> None:
        self.fade = fade
        self._above = above
        self._below = below

    @property
    def value(self) -> float | None:
        """None while there is nothing to divide by."""
        return self._above / self._below if self._below > 0 else None

    def add(self, above: float, below: float) -> None:
        keep = 1.0 - self.fade
        self._above = self._above * keep + above
        self._below = self._below * keep + below
