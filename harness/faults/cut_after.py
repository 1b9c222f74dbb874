"""Connections that break after so many bytes, in the middle of whatever is said then."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.faults.link import BOTH, Direction, Fault, Reset, Send, Shape, Step


@dataclass(frozen=True)
class CutAfter(Fault):
    """``count`` bytes of ``directions`` together get through on each connection, the next is its end."""

    count: int
    directions: frozenset[Direction] = BOTH

    def shape(self, _: random.Random) -> Shape:
        """Counted from the moment the fault is set."""
        left = self.count

        def through(direction: Direction, data: bytes, now_s: float) -> Sequence[Step]:
            nonlocal left
            if direction not in self.directions:
                return (Send(data, now_s),)
            passed, left = data[:left], left - len(data)
            return (Send(data, now_s),) if left >= 0 else (Send(passed, now_s), Reset(now_s))

        return through
