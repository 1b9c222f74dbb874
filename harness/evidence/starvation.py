"""Which processes a busy machine kept waiting for a processor, from the kernel's own account.

A worker that gets none cannot prolong its leases, and that is not its fault. Linux counts for each process
how long it was ready and did not run; where the kernel does not count, no worker is excused.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.background import Background
from harness.evidence.history import STARVED, Trouble

#: Seconds between two looks.
EVERY_S = 0.1


def waited_s(pid: int) -> float:
    """Seconds for which a process's first thread was ready to run and did not; 0 where that is not known.

    The second field of ``/proc/PID/schedstat``, in ns; it grows when the thread gets its turn.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0


class _Watched:
    """One process: what it waited for in the last ``window_s``, and since when that is too much."""

    def __init__(self, target: str, window_s: float) -> None:
        self._target = target
        self._window_s = window_s
        #: When it was looked at, and how long it had waited by then: from one before the window on.
        self._looks: deque[tuple[float, float]] = deque()
        self._troubles: list[Trouble] = []

    @property
    def troubles(self) -> list[Trouble]:
        return list(self._troubles)

    def look(self, now_s: float, total_s: float) -> None:
        self._looks.append((now_s, total_s))
        while len(self._looks) > 1 and self._looks[1][0] <= now_s - self._window_s:
            self._looks.popleft()
        since_s, before_s = self._looks[0]
        gained_s = total_s - before_s
        # Looks may be late, on such a machine above all.
        if gained_s < max(self._window_s, now_s - since_s) / 2:
            return
        # One wait may have been longer than the window: it is told when it is over.
        began_s = now_s - max(self._window_s, now_s - since_s, gained_s)
        if self._troubles and self._troubles[-1].ended_s >= began_s:
            began_s = min(began_s, self._troubles.pop().began_s)
        self._troubles.append(Trouble(STARVED, self._target, began_s, now_s))


class Starvation(Background):
    """Watches from entering to leaving, in its own thread.

    A process that waited for half of the last ``window_s`` was starved then.
    """

    def __init__(
        self,
        window_s: float,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.time,
        account: Callable[[int], float] = waited_s,
    ) -> None:
        super().__init__("starvation")
        self._pids: Mapping[str, int] = {}
        self._window_s = window_s
        self._every_s = every_s
        self._clock = clock
        self._account = account
        self._watched: dict[tuple[str, int], _Watched] = {}

    @property
    def troubles(self) -> list[Trouble]:
        """Who was starved, and when."""
        return [trouble for each in tuple(self._watched.values()) for trouble in each.troubles]

    def watch(self, pids: Mapping[str, int]) -> None:
        """Watch these from now on, by what a :class:`Trouble` calls them."""
        self._pids = dict(pids)

    def look(self) -> None:
        """Look once."""
        now_s = self._clock()
        for target, pid in self._pids.items():
            watched = self._watched.setdefault((target, pid), _Watched(target, self._window_s))
            watched.look(now_s, self._account(pid))

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.look()
