"""How much of something may be used: so much a second, and at once what was saved up. Pure."""


class Allowance:
    """``rate`` a second, at most ``burst`` at once; so much is there at the beginning."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at_s = 0.0

    def spend(self, amount: float) -> None:
        """Use ``amount``, which may be more than there is: what comes next waits for it."""
        self._left -= amount

    def wait_s(self, now_s: float) -> float:
        """Seconds from ``now_s`` (monotonic) until there is some again; 0 while there is."""
        self._left = min(self._burst, self._left + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = now_s
        # A hair more, so that rounding does not leave a wait of next to nothing.
        return 0.0 if self._left > 0 else -self._left / self._rate + 0.001
