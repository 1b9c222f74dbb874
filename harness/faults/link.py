"""The vocabulary of network faults: what may happen to bytes on their way through a proxy.

A fault never waits. It says of each chunk what becomes of it and when, and the proxy does it when the time
has come; so there is nothing to interrupt when a fault ends or the proxy stops.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol


class Direction(StrEnum):
    """Which way bytes travel."""

    REQUEST = "request"  # from who connected to the proxy to the server behind it
    REPLY = "reply"


BOTH = frozenset(Direction)


@dataclass(frozen=True, slots=True)
class Send:
    """Hand ``data`` over at ``at_s`` (monotonic); infinity is when the fault ends."""

    data: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with a RST to both sides at ``at_s``."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Deafen:
    """From now on, and after the fault, nothing passes on this connection; neither side is informed."""


Step = Send | Reset | Deafen
#: What becomes of a chunk that arrives at a monotonic time; has the state of one connection.
Shape = Callable[[Direction, bytes, float], Sequence[Step]]


def pass_on(_: Direction, data: bytes, now_s: float) -> Sequence[Step]:
    """No fault at all."""
    return (Send(data, now_s),)


class Fault(Protocol):
    """One kind of fault with its settings; a frozen dataclass in its own file."""

    #: Whether connections are refused while it lasts.
    refuses: ClassVar[bool] = False
    #: Whether every connection is reset: what is open at once, idle or not, others when they come.
    resets: ClassVar[bool] = False

    def shape(self, rng: random.Random) -> Shape:  # noqa: ARG002  most need no chance
        """The fault on one connection; ``rng`` is that connection's own."""
        return pass_on
