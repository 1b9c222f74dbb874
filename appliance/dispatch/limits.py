"""Time limits that are stamped on a task after it was taken.

The server stamps a task after it has enqueued it, so a run may begin without its limit, or under one that
does not hold: what stands in the message counts only where nothing is stamped. The stamps of a run without
any are read again while it goes on, ever more seldom, and once more before the limit it is under ends it.
"""

from appliance.clock import Clock
from appliance.dispatch.run import Run
from appliance.dispatch.slots import Slots
from appliance.queue.broker import Broker
from appliance.queue.message import Lease
from appliance.queue.settlement import Policy

#: Seconds of running after which stamps are read for the first time; then whenever that has doubled.
FIRST_READ_S = 1.0
#: How long before a limit passes they are read for the last time, in seconds, and as a part of the limit.
BEFORE_LIMIT_S, BEFORE_LIMIT_PART = 1.0, 0.25
#: Longest time between two looks at what runs, in seconds: shorter than any run's time to its first read.
LOOK_EVERY_S = 0.5


class Limits:
    """See the module. Looks after what is in the process, in ``slots``."""

    def __init__(self, broker: Broker, slots: Slots, policy: Policy, clock: Clock) -> None:
        self._broker = broker
        self._slots = slots
        self._policy = policy
        self._clock = clock
        self._next_read_s: dict[Lease, float] = {}

    def tick(self) -> float:
        """Read what is due; returns the seconds until there may be more."""
        now_s = self._clock.monotonic()
        runs = [run for run in self._slots.in_process() if run.task.stamps.active_timeout_s is None]
        self._next_read_s = {
            run.task.lease: self._next_read_s.get(run.task.lease) or self._read_after(run, run.since_s)
            for run in runs
        }
        due = {run.task.lease: run for run in runs if self._next_read_s[run.task.lease] <= now_s}
        if due:
            self._read(due)
            self._next_read_s |= {lease: self._read_after(run, now_s) for lease, run in due.items()}
        waits_s = [at_s - now_s for at_s in self._next_read_s.values()]
        return max(0.0, min([*waits_s, LOOK_EVERY_S]))

    def _read(self, due: dict[Lease, Run]) -> None:
        for lease, stamps in self._broker.stamps(list(due)).items():
            run = due[lease]
            # It may have ended meanwhile, or come back with another lease.
            if stamps.active_timeout_s is not None and run.task.lease == lease:
                task = run.task._replace(stamps=stamps)
                self._slots.limit(run, task, self._policy.run_limit_s(task))

    def _read_after(self, run: Run, now_s: float) -> float:
        """When to read next, after ``now_s``."""
        age_s = now_s - run.since_s
        reads_s = [max(FIRST_READ_S, 2 * age_s)]
        limit_s = self._policy.run_limit_s(run.task)
        if limit_s is not None:
            last_s = limit_s - min(BEFORE_LIMIT_S, limit_s * BEFORE_LIMIT_PART)
            if last_s > age_s:
                reads_s.append(last_s)
        return run.since_s + min(reads_s)
