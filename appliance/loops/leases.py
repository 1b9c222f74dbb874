"""Keeps the leases of tasks this worker holds from running out."""

from collections.abc import Callable, Sequence

import structlog

from appliance.queue.broker import Broker
from appliance.queue.message import Lease
from appliance.queue.replies import FenceReply

log = structlog.get_logger()


class Leases:
    """Extends what ``held`` returns, every ``every_s`` seconds: often enough that one beat may fail."""

    def __init__(self, broker: Broker, held: Callable[[], Sequence[Lease]], every_s: float) -> None:
        self._broker = broker
        self._held = held
        self._every_s = every_s
        #: Refused the last time; lost, unless their outcomes were on the way to Redis then.
        self._doubtful: set[Lease] = set()
        self._lost: set[Lease] = set()
        #: How many were lost so far.
        self.lost_total = 0

    def tick(self) -> float:
        """Extend once; returns the seconds until the next time."""
        asked = [lease for lease in self._held() if lease not in self._lost]
        refused = {
            lease: reply
            for lease, reply in self._broker.extend(asked).items()
            if reply in (FenceReply.LOST, FenceReply.GONE)
        }
        held = set(self._held())
        for lease in self._doubtful & refused.keys() & held:
            # Its run goes on, there is no stopping half of a process; the fence will refuse
            # the outcome unless the task comes back to this worker.
            self._lost.add(lease)
            self.lost_total += 1
            log.warning(
                "lease.lost", task_id=lease.task_id, queue=lease.queue, fence_reply=refused[lease].value
            )
        self._doubtful = (refused.keys() & held) - self._lost
        self._lost &= held
        return self._every_s
