"""A thin line: so many bytes a second and no more."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.faults.link import BOTH, Direction, Fault, Send, Shape, Step

#: Seconds' worth of bytes that are handed over together.
_SLICE_S = 0.02


@dataclass(frozen=True)
class Bandwidth(Fault):
    """``bytes_per_s`` on each connection, for each of ``directions`` by itself."""

    bytes_per_s: float
    directions: frozenset[Direction] = BOTH

    def shape(self, _: random.Random) -> Shape:
        """A line that is busy until what came before is through."""
        free_at_s = dict.fromkeys(Direction, 0.0)
        size = max(1, int(self.bytes_per_s * _SLICE_S))

        def through(direction: Direction, data: bytes, now_s: float) -> Sequence[Step]:
            if direction not in self.directions:
                return (Send(data, now_s),)
            at_s, steps = max(now_s, free_at_s[direction]), []
            for start in range(0, len(data), size):
                part = data[start : start + size]
                at_s += len(part) / self.bytes_per_s
                steps.append(Send(part, at_s))
            free_at_s[direction] = at_s
            return steps

        return through
