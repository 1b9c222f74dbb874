"""Which files of dead workers are worth a look, and when.

One in which nothing is for this worker is not read again until it changes; one whose outcomes Redis does not
take, ever more seldom: it is read as a whole each time.
"""

from collections.abc import Sequence

from appliance.queue.outbox import Orphan

#: Seconds between two looks into the folder: results of a killed worker should arrive before leases lapse.
LOOK_EVERY_S = 5.0
#: Longest time between two looks at a file.
LONGEST_S = 60.0


class Looks:
    """Of one worker; times are monotonic seconds."""

    def __init__(self) -> None:
        self._passed: set[Orphan] = set()
        self._waits: dict[Orphan, tuple[float, float]] = {}

    def due(self, found: Sequence[Orphan], now_s: float) -> list[Orphan]:
        """Those of the files that are there by now, as they are, which are to be looked at."""
        self._passed.intersection_update(found)
        self._waits = {orphan: self._waits[orphan] for orphan in found if orphan in self._waits}
        return [
            orphan
            for orphan in found
            if orphan not in self._passed and now_s >= self._waits.get(orphan, (0.0, 0.0))[1]
        ]

    def passed(self, orphan: Orphan) -> None:
        """Nothing in it is for this worker."""
        self._passed.add(orphan)

    def read(self, orphan: Orphan, now_s: float) -> None:
        """It is being read; should it stay as it is, it has time."""
        waited_s, _ = self._waits.get(orphan, (LOOK_EVERY_S / 2, 0.0))
        wait_s = min(2 * waited_s, LONGEST_S)
        # A little less: it is to be due at the look of that time.
        self._waits[orphan] = wait_s, now_s + wait_s - LOOK_EVERY_S / 2

    def hurry(self) -> None:
        """What was left may go now."""
        self._waits.clear()
