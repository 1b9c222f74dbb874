"""Nothing listens: new connections are refused; those that are open stay as they are."""

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.link import Fault


@dataclass(frozen=True)
class Refuse(Fault):
    """As a server that is down. For one that went down, reset first."""

    refuses: ClassVar[bool] = True
