"""Which payloads and how many sub-queues are measured: a full run and a quick one."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SizesPlan:
    """Bytes of payloads, which come back as results; numbers of sub-queues; round trips to Redis in ms.

    ``bytes_in_all`` is what one payload's size is measured with, in at most ``most_tasks``; so many tasks go
    round the sub-queues, at each of ``concurrency`` slots.
    """

    payloads: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)
    bytes_in_all: int = 100_000_000
    most_tasks: int = 5_000
    #: One worker serves 256 at most.
    sub_queues: tuple[int, ...] = (1, 10, 100, 256)
    round_trips_ms: tuple[int, ...] = (0, 10)
    tasks: int = 5_000
    concurrency: int = 8


FULL_SIZES = SizesPlan()
QUICK_SIZES = replace(
    FULL_SIZES,
    payloads=(1_000, 1_000_000, 10_000_000),
    bytes_in_all=20_000_000,
    most_tasks=1_000,
    sub_queues=(1, 10),
    tasks=1_000,
)
