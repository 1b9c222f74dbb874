"""Keeps the leases of tasks this worker holds from running out."""

from collections.abc import Callable, Sequence

import structlog

from appliance.queue.broker import Broker, Verdict
from appliance.queue.message import Lease

log = structlog.get_logger()


class Leases:
    """Prolongs what ``held`` returns, three times per lease, so that two beats may fail."""

    def __init__(self, broker: Broker, held: Callable[[], Sequence[Lease]], lease_s: float) -> None:
        self._broker = broker
        self._held = held
        self._lease_s = lease_s
        self._lost: set[Lease] = set()
        #: How many were lost so far.
        self.lost_total = 0

    def tick(self) -> float:
        """Prolong once; returns the seconds until the next time."""
        held = [lease for lease in self._held() if lease not in self._lost]
        for lease, verdict in self._broker.extend(held).items():
            if verdict in (Verdict.LOST, Verdict.GONE):
                # Its run goes on, there is no stopping half of a process; the fence will refuse
                # the outcome unless the task comes back to this worker.
                self._lost.add(lease)
                self.lost_total += 1
                log.warning("lease.lost", task_id=lease.task_id, queue=lease.queue, verdict=verdict.value)
        self._lost &= set(self._held())
        return self._lease_s / 3
