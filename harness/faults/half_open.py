"""Connections are accepted, and what is said on them is never read.

As behind a router that forgot its connections: neither side is told, no byte gets through, and those
connections are of no use either when the fault is over. The server keeps its side of them open.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.faults.link import Deafen, Direction, Fault, Shape, Step


@dataclass(frozen=True)
class HalfOpen(Fault):
    """Every connection on which something is said."""

    def shape(self, _: random.Random) -> Shape:
        """The first byte in either direction is the end of it."""

        def through(_direction: Direction, _data: bytes, _now_s: float) -> Sequence[Step]:
            return (Deafen(),)

        return through
