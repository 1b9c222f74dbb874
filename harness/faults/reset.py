"""Connections that are reset (RST): what is open at once, what comes later as soon as it comes."""

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.link import Fault


@dataclass(frozen=True)
class ResetConnections(Fault):
    """Lasts: who tries again meanwhile is reset again."""

    resets: ClassVar[bool] = True
