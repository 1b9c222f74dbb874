"""Time that stands still until a test, or the code under test by sleeping, moves it."""

from dataclasses import dataclass


@dataclass
class HandClock:
    """An ``appliance.clock.Clock`` whose two times are one."""

    now_s: float = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
