"""Nothing arrives while it lasts, and everything when it is over: a partition that TCP outlives."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.faults.link import BOTH, Direction, Fault, Send, Shape, Step


@dataclass(frozen=True)
class Stall(Fault):
    """In each of ``directions``; with one of them alone, requests are carried out and not answered."""

    directions: frozenset[Direction] = BOTH

    def shape(self, _: random.Random) -> Shape:
        """Held until the fault is over."""

        def through(direction: Direction, data: bytes, now_s: float) -> Sequence[Step]:
            return (Send(data, math.inf if direction in self.directions else now_s),)

        return through
