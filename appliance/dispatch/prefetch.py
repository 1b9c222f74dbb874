"""Tasks that were taken and wait for their turn in the process, leased but not started. Pure.

Most are fetched ahead: taken before a slot is free, so that the process does not wait for Redis. When and how
many is measured (:mod:`~appliance.dispatch.pace`). A guess that was wrong costs no task anything: where the
run that one waits for proves longer than expected, it goes back to its queue uncharged, for any worker that
is idle. While more tasks wait in the queue none is, and it may stay a little longer: to send it back and
fetch it again costs Redis more than the task itself. The others are suspects
(:mod:`~appliance.dispatch.suspects`), which go first.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from appliance.dispatch.pace import Pace
from appliance.dispatch.run import Run
from appliance.dispatch.suspects import Suspects
from appliance.queue.replies import Ask, Taken

#: Seconds, beside a round trip, after which a task that was fetched ahead and still waits goes back: from its
#: take to its return that is two round trips and this.
HOLD_S = 0.04
#: Seconds after which it is asked whether more wait in its queue, and how often for the same task.
LOOK_S, MOST_LOOKS = 0.025, 2
#: Round trip in seconds from which on it is not asked: that would hold up what is to be fetched next. A busy
#: machine makes one to a Redis beside it take several milliseconds.
FAR_S = 0.02
#: Most bytes of payloads that are fetched ahead, about; one task always is.
MOST_AHEAD_BYTES = 8 * 1024 * 1024


class Prefetch:
    """Those of one dispatcher, the ones fetched ahead oldest first; ``pace`` says how many are worth it."""

    __slots__ = (
        "_looked_s",
        "_more_s",
        "_payload_bytes",
        "pace",
        "runs",
        "suspects",
        "tiers",
        "wanted",
    )

    def __init__(self, pace: Pace, suspects: Suspects) -> None:
        self.pace = pace
        self.runs: dict[str, Run] = {}
        self.suspects = suspects
        #: How many there should be, as of the last :meth:`room`.
        self.wanted = 0
        self._payload_bytes = 1
        #: Which tier each queue stands in, 0 for those that no other goes before.
        self.tiers: Mapping[str, int] = {}
        # By queue: when more tasks are known to have waited there, and when that was asked last.
        self._more_s: dict[str, float] = {}
        self._looked_s: dict[str, float] = {}

    @property
    def low(self) -> bool:
        """Whether half of what should be here is used up: time to fetch more."""
        return len(self.runs) <= self.wanted // 2

    def room(self, ends_in_s: Sequence[float], *, at_once: bool) -> int:
        """How many more to fetch now, given when runs may end, the next one first.

        ``at_once`` where an exchange takes place anyway; else only if it is due.
        """
        most = max(1, MOST_AHEAD_BYTES // self._payload_bytes)
        self.wanted = min(self.pace.needed(ends_in_s), most)
        due = at_once or self.due_in_s(ends_in_s) <= 0
        return max(0, self.wanted - len(self.runs)) if due else 0

    def due_in_s(self, ends_in_s: Sequence[float]) -> float:
        """Seconds until one is to be fetched for the first run whose end finds none here; may be infinite."""
        if len(self.runs) >= len(ends_in_s):
            return math.inf
        return ends_in_s[len(self.runs)] - self.pace.due_s

    @property
    def hold_s(self) -> float:
        """Seconds that one may wait here."""
        return self.pace.round_trip_s + HOLD_S

    def add(self, run: Run) -> None:
        """Keep a task until it can be started."""
        if self.suspects.concerns(run):
            self.suspects.add(run)
        else:
            self.runs[run.request.task_id] = run
            self._payload_bytes = max(1, len(run.request.payload))

    def all(self) -> list[Run]:
        """All that wait, in the order in which they are started."""
        return [*self.suspects.runs.values(), *self.runs.values()]

    def find(self, task_id: str) -> Run | None:
        """The task of that id that waits."""
        return self.runs.get(task_id) or self.suspects.runs.get(task_id)

    def remove(self, task_id: str) -> Run | None:
        """Take out the task of that id."""
        return self.runs.pop(task_id, None) or self.suspects.runs.pop(task_id, None)

    def take_next(self, *, free: bool, idle: bool) -> Run | None:
        """Take out the one to start now. ``free``: there is a slot; ``idle``: nothing runs."""
        if self.suspects.any:
            return self.suspects.take(idle=idle)
        return self.runs.pop(next(iter(self.runs))) if self.runs and free else None

    def take_late(self, now_s: float, *, is_open: bool) -> list[Run]:
        """Take out those that are not about to run: with the gate shut all, else those that wait too long.

        Those that were taken later from the same queue go with them, and those of queues that come after it:
        else the ones that go back would be served behind them.
        """
        if not is_open:
            late = self.all()
            self.suspects.take_all()
            self.runs.clear()
            return late
        # A look that is due comes first: this event loop may be what was late.
        queues = {
            run.request.queue
            for run in self.runs.values()
            if self._late_s(run) <= now_s and self._look_s(run) > now_s
        }
        if not queues:
            return []
        first = min(self.tiers[queue] for queue in queues)
        late = [
            run
            for run in self.runs.values()
            if run.request.queue in queues or self.tiers[run.request.queue] > first
        ]
        for run in late:
            del self.runs[run.request.task_id]
        return late

    def doubtful(self, now_s: float, but: Collection[str]) -> list[Ask]:
        """Looks at the queues of those that have waited for a while, ``but`` not at these.

        What they find is for :meth:`learn`.
        """
        doubtful = [run for run in self.runs.values() if self._look_s(run) <= now_s]
        for run in doubtful:
            run.looks += 1
        looks = {run.request.queue for run in doubtful}
        self._looked_s |= dict.fromkeys(looks, now_s)
        return [Ask(queue) for queue in looks.difference(but)]

    def learn(self, asks: Sequence[Ask], taken: Sequence[Taken | None], asked_s: float) -> None:
        """Take in what looks found that were made then."""
        self._more_s |= {
            ask.queue: asked_s
            for ask, found in zip(asks, taken, strict=True)
            if found is not None and found.pending
        }

    def next_look_s(self, now_s: float) -> float | None:
        """Seconds until one of those fetched ahead is looked at, or has waited too long; None without."""
        if not self.runs:
            return None
        looks_s = (min(self._late_s(run), self._look_s(run)) for run in self.runs.values())
        return min(looks_s) - now_s

    def _late_s(self, run: Run) -> float:
        """When it has waited too long."""
        return max(run.since_s, self._more_s.get(run.request.queue, 0.0)) + self.hold_s

    def _look_s(self, run: Run) -> float:
        """When to look whether more wait in its queue; infinite for never."""
        far = self.pace.round_trip_s >= FAR_S
        queue = run.request.queue
        # Only tasks that no others go before may keep their place for longer.
        if far or run.looks >= MOST_LOOKS or self.tiers[queue] > 0 or self.suspects.any:
            return math.inf
        return max(run.since_s, self._looked_s.get(queue, 0.0)) + LOOK_S
