"""What a load run is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.sandbox.source import Source


@dataclass(frozen=True)
class LoadOptions:
    """``settings`` are further fields of the queue's QueueConfig; the payloads in a file take turns.

    ``drain_s`` is how long it is waited for tasks once the last one was sent.
    """

    source: Source
    branch: str | None
    queue: str
    settings: Mapping[str, Any] = field(repr=False)
    payload: Path | None
    rate: float
    duration_s: float
    drain_s: float
    workers: int
    concurrency: int
    worker: Sequence[str] | None
    system_packages: bool
    json: Path | None
    picture: Path | None

    @property
    def tasks(self) -> int:
        """How many are sent."""
        return max(1, round(self.rate * self.duration_s))
