"""Everything arrives later, in order, as much of it as before."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.faults.link import BOTH, Direction, Fault, Send, Shape, Step


@dataclass(frozen=True)
class Latency(Fault):
    """``delay_s`` seconds more for each chunk in each of ``directions``."""

    delay_s: float
    directions: frozenset[Direction] = BOTH

    def shape(self, _: random.Random) -> Shape:
        """The same for every chunk."""

        def through(direction: Direction, data: bytes, now_s: float) -> Sequence[Step]:
            return (Send(data, now_s + (self.delay_s if direction in self.directions else 0.0)),)

        return through
