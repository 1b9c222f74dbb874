"""Everything arrives later, by an amount that varies; still in order, as TCP has it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.faults.link import BOTH, Direction, Fault, Send, Shape, Step


@dataclass(frozen=True)
class Jitter(Fault):
    """Between nothing and ``most_s`` seconds more for each chunk in each of ``directions``."""

    most_s: float
    directions: frozenset[Direction] = BOTH

    def shape(self, rng: random.Random) -> Shape:
        """Drawn for each chunk."""

        def through(direction: Direction, data: bytes, now_s: float) -> Sequence[Step]:
            return (Send(data, now_s + (rng.uniform(0, self.most_s) if direction in self.directions else 0)),)

        return through
