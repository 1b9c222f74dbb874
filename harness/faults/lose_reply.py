"""Connections that break between a request and its reply: it was carried out, unknown to the client."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.faults.link import Direction, Fault, Reset, Send, Shape, Step


@dataclass(frozen=True)
class LoseReply(Fault):
    """Of the replies to requests that contain ``match``, each is lost with probability ``chance``.

    The reply's first byte has arrived at the proxy, so the request was carried out. ``match`` is looked
    for in each chunk as it comes; empty, every request is meant.
    """

    chance: float = 1.0
    match: bytes = b""

    def shape(self, rng: random.Random) -> Shape:
        """Asked for and not yet answered is all it remembers."""
        meant = False

        def through(direction: Direction, data: bytes, now_s: float) -> Sequence[Step]:
            nonlocal meant
            if direction is Direction.REQUEST:
                meant = meant or self.match in data
                return (Send(data, now_s),)
            lost, meant = meant and rng.random() < self.chance, False
            return (Reset(now_s),) if lost else (Send(data, now_s),)

        return through
